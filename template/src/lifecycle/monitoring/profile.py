"""Counts of each column over fixed bins: what training looked like, and what is being served.

A profile costs the same however many rows went into it, holds no row, and two of the same bins add up:
windows of several processes, days or hosts are one window.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np

from ..columns import MISSING, Arrays, Schema

BINS = 64  # at 64 quantiles the KS distance is off by at most 1/64, a sixth of the bar it is held to
CATEGORIES = 64  # of one column that are counted apart; the rest are "(other)"
OTHER = "(other)"
PREDICTION = "(prediction)"


class Profile:
    """features: {name: {"edges": [...]} or {"names": [...]}, "counts": [...], "missing": n}.

    Bin i of a number holds the values over edges[i-1] and up to edges[i]; the last has no upper end.
    """

    def __init__(self, features: dict[str, dict[str, Any]], rows: int, classes: list[Any]) -> None:
        self.features = features
        self.rows = rows
        self.classes = classes
        self._numbers = {
            name: np.asarray(feature["edges"]) for name, feature in features.items() if "edges" in feature
        }
        self._places = {
            name: {value: i for i, value in enumerate(feature["names"])}
            for name, feature in features.items()
            if "names" in feature
        }

    @classmethod
    def build(cls, columns: Arrays, predictions: np.ndarray, schema: Schema) -> "Profile":
        """Choose the bins from training columns and predictions ([rows] or [rows, classes]), and count."""
        features: dict[str, dict[str, Any]] = {}
        for name, values in with_prediction(columns, predictions, schema.classes).items():
            if values.dtype.kind == "O":
                names, counts = np.unique(values[values != MISSING].astype(str), return_counts=True)
                kept = sorted(names[np.argsort(-counts, kind="stable")][:CATEGORIES].tolist())
                features[name] = {"names": [*kept, OTHER], "counts": [0] * (len(kept) + 1)}
            else:
                edges = _edges(values)
                features[name] = {"edges": edges, "counts": [0] * (len(edges) + 1)}
            features[name]["missing"] = 0
        profile = cls(features, 0, schema.classes)
        profile.add(columns, predictions)
        return profile

    def empty(self) -> "Profile":
        """Return a profile with the same bins and nothing counted."""
        features = {
            name: {**feature, "counts": [0] * len(feature["counts"]), "missing": 0}
            for name, feature in self.features.items()
        }
        return Profile(features, 0, self.classes)

    def add(self, columns: Arrays, predictions: np.ndarray) -> None:
        """Count rows: the raw columns of schema.py and what was predicted for them."""
        self.rows += len(predictions)
        for name, values in with_prediction(columns, predictions, self.classes).items():
            feature = self.features[name]
            if name in self._numbers:
                known = values[~np.isnan(values)]
                places = np.searchsorted(self._numbers[name], known, side="left")
            else:
                known = values[values != MISSING]
                index = self._places[name]
                places = np.array([index.get(str(v), len(index) - 1) for v in known], dtype=int)
            counted = np.bincount(places, minlength=len(feature["counts"]))
            feature["counts"] = (np.asarray(feature["counts"]) + counted).tolist()
            feature["missing"] += len(values) - len(known)

    def merge(self, other: "Profile") -> None:
        """Add another profile's counts to this one's; both must have the same bins."""
        self.rows += other.rows
        for name, feature in self.features.items():
            theirs = other.features[name]
            if len(theirs["counts"]) != len(feature["counts"]):
                raise ValueError(f"the windows of {name} have other bins: are they of another version?")
            feature["counts"] = np.add(feature["counts"], theirs["counts"]).tolist()
            feature["missing"] += theirs["missing"]

    def to_dict(self) -> dict[str, Any]:
        return {"features": self.features, "rows": self.rows, "classes": self.classes}

    @classmethod
    def read(cls, folder: Path) -> "Profile":
        """Read the profile.json of a candidate's folder."""
        return cls.from_dict(json.loads((folder / "profile.json").read_text(encoding="utf-8")))

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> "Profile":
        return cls(data["features"], data["rows"], data["classes"])


def with_prediction(columns: Arrays, predictions: np.ndarray, classes: list[Any]) -> Arrays:
    """Return what is watched: every column but times, and the prediction as one more."""
    watched = {name: values for name, values in columns.items() if values.dtype.kind != "M"}
    if classes:
        labels = np.array([str(label) for label in classes], dtype=object)
        watched[PREDICTION] = labels[predictions.argmax(axis=1)]
    else:
        watched[PREDICTION] = predictions
    return watched


def _edges(values: np.ndarray) -> list[float]:
    known = values[~np.isnan(values)]
    if not len(known):
        return [0.0]
    shares = np.linspace(0, 1, BINS + 1)[1:-1]
    return np.unique(np.quantile(known, shares, method="inverted_cdf")).tolist()
