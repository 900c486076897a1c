"""Whole rows of unusual predictions, for a person to look at: the model was unsure, or a value out of range.

JSON lines, a file a day for each process, with a limit. Columns that params.yaml names are dropped, or hashed
with the key in ANOMALY_KEY (without one they are dropped too: a plain hash of a name is soon undone).
"""

import hmac
import json
import os
from typing import Any

import numpy as np

from ..data.arrays import Arrays
from .histogram import FEW
from .prediction_log import DailyLog
from .profile import Profile

FOLDER = "anomalies"


class AnomalyLog(DailyLog):
    """Keeps the unusual rows among what is served.

    reference: has the ranges. rules: the section `anomalies` as the model was trained; {}: nothing is logged.
    """

    def __init__(self, reference: Profile, rules: dict[str, Any]) -> None:
        self._most, self._confidence = int(rules.get("most_a_day", 0)), float(rules.get("confidence", 0))
        super().__init__(FOLDER + "/{}.jsonl", self._most)
        self._hashed, self._dropped = set(rules.get("hashed", ())), set(rules.get("dropped", ()))
        self._key = os.environ.get("ANOMALY_KEY", "").encode()
        self._dropped |= set() if self._key else self._hashed
        self._ranges = {n: f["range"] for n, f in reference.features.items() if "range" in f}

    def add(self, columns: Arrays, output: np.ndarray, ids: list[str], now: float) -> None:
        """Keep the rows that are unusual, as far as the day has room for them."""
        if self.begins(now):
            self._kept = 0
        if self._kept >= self._most:
            return
        reasons: dict[int, list[str]] = {}
        if output.ndim == 2:
            for i in np.flatnonzero(output.max(axis=1) < self._confidence).tolist():
                reasons.setdefault(i, []).append("low confidence")
        for name, (low, high) in self._ranges.items():
            for i in _outside(columns[name], low, high) if name in columns else ():
                reasons.setdefault(i, []).append(f"{name} out of range")
        for i in sorted(reasons)[: self._most - self._kept]:
            row = {name: self._shown(name, values[i]) for name, values in columns.items()}
            row = {name: value for name, value in row.items() if value is not None}
            facts = {"id": ids[i], "at": round(now), "why": reasons[i], "row": row}
            self.keep(json.dumps(facts | {"prediction": np.atleast_1d(output[i]).tolist()}))
            self._kept += 1

    def _shown(self, name: str, value: Any) -> Any:
        """Return a value as it is logged; None where it is missing or must not be logged."""
        if name in self._dropped or value != value:
            return None
        is_time = isinstance(value, np.datetime64)
        plain = str(value) if is_time else value.item() if isinstance(value, np.generic) else value
        hashed = hmac.new(self._key, str(plain).encode(), "sha256").hexdigest()[:32]
        return hashed if name in self._hashed else plain


def _outside(values: np.ndarray, low: float, high: float) -> list[int]:
    if len(values) <= FEW:
        return [i for i, value in enumerate(values.tolist()) if value < low or value > high]
    return np.flatnonzero((values < low) | (values > high)).tolist()
