"""Counts of each column over fixed bins: what training looked like, and what is being served.

A profile costs the same however many rows went into it, holds no row, and two of the same bins add up:
windows of several processes, days or hosts are one window.
"""

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np

from ..columns import Arrays, Schema
from . import bins
from .bins import Feature

PREDICTION = "(prediction)"
SHUFFLED = 2000  # rows that importance is measured on


class Profile:
    """features: {name: {"edges": [...] or "names": [...], "counts": [...], "missing": n, …}}.

    Bin i of a number holds the values over edges[i-1] and up to edges[i]; the last has no upper end. A number
    also has "range", beyond which a value counts in "outside" as well; training adds "importance".
    labels: the target's counts in training, a feature like the others. Old files have none of these three.
    """

    def __init__(
        self, features: dict[str, Feature], rows: int, classes: list[Any], labels: Feature | None = None
    ) -> None:
        self.features = features
        self.rows = rows
        self.classes = classes
        self.labels = labels
        self._names = _names(classes)
        self._places = {name: bins.places(feature) for name, feature in features.items()}

    @classmethod
    def build(
        cls, columns: Arrays, predictions: np.ndarray, schema: Schema, target: np.ndarray | None = None
    ) -> "Profile":
        """Choose the bins from training columns and predictions ([rows] or [rows, classes]), and count.

        target: the labels, as floats or as class names.
        """
        watched = {name: values for name, values in columns.items() if values.dtype.kind != "M"}
        watched[PREDICTION] = _predicted(predictions, _names(schema.classes))
        profile = cls({name: bins.choose(values) for name, values in watched.items()}, 0, schema.classes)
        profile.add(columns, predictions)
        if target is not None:
            profile.labels = bins.choose(target)
            bins.add(profile.labels, target, bins.places(profile.labels))
        return profile

    def empty(self) -> "Profile":
        """Return a profile with the same bins and nothing counted."""
        features = {name: bins.blank(feature) for name, feature in self.features.items()}
        return Profile(features, 0, self.classes, self.labels)

    def add(self, columns: Arrays, predictions: np.ndarray) -> None:
        """Count rows: the raw columns of schema.py and what was predicted for them."""
        self.rows += len(predictions)
        for name, values in columns.items():
            if values.dtype.kind != "M":
                bins.add(self.features[name], values, self._places[name])
        self.add_predictions(predictions)

    def add_predictions(self, predictions: np.ndarray) -> None:
        """Count predictions alone."""
        predicted = _predicted(predictions, self._names)
        bins.add(self.features[PREDICTION], predicted, self._places[PREDICTION])

    def add_names(self, name: str, pairs: Iterable[tuple[Any, int]]) -> None:
        """Count a category by pairs of a value (None: missing) and how often it is there."""
        bins.add_names(self.features[name], pairs, self._places[name] or {})

    def add_counts(self, data: dict[str, Any]) -> None:
        """Add what counts_only gave, of another process or time; ValueError if it has other bins."""
        self.rows += data["rows"]
        for name, feature in self.features.items():
            theirs = data["features"][name]
            if len(theirs["counts"]) != len(feature["counts"]):
                raise ValueError(f"the windows of {name} have other bins: are they of another version?")
            feature["counts"] = [a + b for a, b in zip(feature["counts"], theirs["counts"], strict=True)]
            for key in feature.keys() & {"missing", "outside"}:
                feature[key] += theirs.get(key, 0)

    def merge(self, other: "Profile") -> None:
        """Add another profile's counts to this one's; both must have the same bins."""
        self.add_counts({"features": other.features, "rows": other.rows})

    def counts_only(self) -> dict[str, Any]:
        """Return the counts without the bins, which all profiles of a version share."""
        keys = ("counts", "missing", "outside")
        features = {n: {key: f[key] for key in keys if key in f} for n, f in self.features.items()}
        return {"features": features, "rows": self.rows}

    def to_dict(self) -> dict[str, Any]:
        data = {"features": self.features, "rows": self.rows, "classes": self.classes}
        return data | ({"labels": self.labels} if self.labels else {})

    @classmethod
    def read(cls, folder: Path) -> "Profile":
        """Read the profile.json of a candidate's folder."""
        return cls.from_dict(json.loads((folder / "profile.json").read_text(encoding="utf-8")))

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> "Profile":
        return cls(data["features"], data["rows"], data["classes"], data.get("labels"))


def _names(classes: list[Any]) -> np.ndarray:
    return np.array([str(label) for label in classes], dtype=object)


def _predicted(predictions: np.ndarray, names: np.ndarray) -> np.ndarray:
    """Return the predicted numbers, or the names of the most probable classes."""
    return names[predictions.argmax(axis=1)] if len(names) else predictions


def importances(columns: Arrays, predict: Callable[[Arrays], np.ndarray]) -> dict[str, float]:
    """Return for each column the mean change of the predictions when it is shuffled, the largest being 1.

    Permutation importance (Breiman 2001) of the predictions instead of the error, so that it needs no labels.
    Columns that say the same share their importance: hold it against a low bar only.
    """
    random = np.random.default_rng(0)
    rows = len(next(iter(columns.values())))
    some = np.sort(random.choice(rows, min(rows, SHUFFLED), replace=False))
    sample = {name: values[some] for name, values in columns.items()}
    before = predict(sample)
    changes = {}
    for name, values in sample.items():
        after = predict({**sample, name: random.permutation(values)})
        changes[name] = float(np.mean(np.abs(after - before)))
    largest = max(changes.values()) or 1.0
    return {name: change / largest for name, change in changes.items()}
