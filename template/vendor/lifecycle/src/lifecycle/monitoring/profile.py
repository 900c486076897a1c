"""Counts of each column over fixed bins: what training looked like, and what is being served.

A profile costs the same however many rows went into it, and holds no row. Two of the same bins add up: the
counts of several processes, hours or hosts are one profile.
"""

import json
from collections.abc import Callable, Iterable
from copy import copy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..data.arrays import Arrays
from ..data.schema import Schema
from . import histogram
from .histogram import Histogram

PREDICTION = "(prediction)"
COUNTED = ("counts", "missing", "outside")
SHUFFLED = 2000  # rows that importance is measured on


@dataclass
class Profile:
    """The histograms of a model's columns and of its predictions, as profile.json holds them.

    features: {name: {"edges": [...] or "names": [...], "counts": [...], "missing": n, …}}. Bin i of a number
    holds the values over edges[i-1] and up to edges[i]; the last has no upper end. A number also has "range",
    beyond which a value counts in "outside" as well; training adds "importance".
    classes: of the target, [] for a number. labels: the target's histogram in training.
    """

    features: dict[str, Histogram]
    rows: int
    classes: list[Any]
    labels: Histogram | None = None

    def __post_init__(self) -> None:
        self._names = np.array([str(label) for label in self.classes], dtype=object)

    @classmethod
    def build(
        cls, columns: Arrays, predictions: np.ndarray, schema: Schema, target: np.ndarray | None = None
    ) -> "Profile":
        """Choose the bins from training columns, predictions and labels (floats, class names); count."""
        profile = cls({}, 0, schema.classes)
        watched = {name: values for name, values in columns.items() if values.dtype.kind != "M"}
        watched[PREDICTION] = profile._predicted(predictions)
        profile.features = {name: histogram.choose(values) for name, values in watched.items()}
        profile.add(columns, predictions)
        if target is not None:
            profile.labels = histogram.choose(target)
            histogram.add(profile.labels, target)
        return profile

    def empty(self) -> "Profile":
        """Return a profile with the same bins and nothing counted."""
        features = {name: histogram.blank(counts) for name, counts in self.features.items()}
        return Profile(features, 0, self.classes, self.labels)

    def add(self, columns: Arrays, predictions: np.ndarray) -> None:
        """Count rows: the raw columns of schema.py and what was predicted for them."""
        self.rows += len(predictions)
        for name, values in columns.items():
            if values.dtype.kind != "M":
                histogram.add(self.features[name], values)
        self.add_predictions(predictions)

    def add_predictions(self, predictions: np.ndarray) -> None:
        """Count predictions alone."""
        histogram.add(self.features[PREDICTION], self._predicted(predictions))

    def _predicted(self, predictions: np.ndarray) -> np.ndarray:
        """Return the predicted numbers, or the names of the most probable classes."""
        return self._names[predictions.argmax(axis=1)] if self.classes else predictions

    def add_counts(self, parts: Iterable[dict[str, Any]]) -> int:
        """Add what counts_only() returned, of the same bins. Returns the sum of their "rejected"."""
        sums, rejected = {name: _row(feature) for name, feature in self.features.items()}, 0
        for part in parts:
            self.rows, rejected = self.rows + part["rows"], rejected + part.get("rejected", 0)
            for name, total in sums.items():
                total += _row(part["features"][name])
        for name, total in sums.items():
            found = dict(zip(COUNTED, (total[:-2].tolist(), *total[-2:].tolist()), strict=True))
            self.features[name] |= {key: found[key] for key in COUNTED if key in self.features[name]}
        return rejected

    def counts_only(self) -> dict[str, Any]:
        """Return a copy of the counts without the bins, which all profiles of a version share."""
        every = self.features.items()
        features = {name: {key: copy(found[key]) for key in COUNTED if key in found} for name, found in every}
        return {"features": features, "rows": self.rows}

    def to_dict(self) -> dict[str, Any]:
        """Return what profile.json holds."""
        data = {"features": self.features, "rows": self.rows, "classes": self.classes}
        return data | ({"labels": self.labels} if self.labels else {})

    @classmethod
    def read(cls, folder: Path) -> "Profile":
        """Read the profile.json of a candidate's folder."""
        return cls.from_dict(json.loads((folder / "profile.json").read_text(encoding="utf-8")))

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> "Profile":
        """Return the profile that to_dict() was called on."""
        return cls(data["features"], data["rows"], data["classes"], data.get("labels"))


def _row(feature: Histogram) -> np.ndarray:
    return np.array([*feature["counts"], feature["missing"], feature.get("outside", 0)])


def importances(columns: Arrays, predict: Callable[[Arrays], np.ndarray]) -> dict[str, float]:
    """Return for each column the mean change of the predictions when it is shuffled, the largest being 1.

    Permutation importance (Breiman 2001) of the predictions instead of the error, so that it needs no labels.
    Columns that carry the same information share their importance, so compare it with a low threshold only.
    """
    random, rows = np.random.default_rng(0), len(next(iter(columns.values())))
    chosen = np.sort(random.choice(rows, min(rows, SHUFFLED), replace=False))
    sample = {name: values[chosen] for name, values in columns.items()}
    before, changes = predict(sample), {}
    for name, values in sample.items():
        after = predict({**sample, name: random.permutation(values)})
        changes[name] = float(np.mean(np.abs(after - before)))
    largest = max(changes.values()) or 1.0
    return {name: change / largest for name, change in changes.items()}
