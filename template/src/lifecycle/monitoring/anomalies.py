"""Whole rows of odd predictions, for a person to look at: unsure, out of range, or far off their label.

JSON lines, a file a day for each process, so many lines at most; old days are removed. Columns that
params.yaml names are dropped, or hashed with the key in ANOMALY_KEY (without one they are dropped too: a
plain hash of a name is soon undone). The settings come with the model, as it was trained.
"""

import hashlib
import hmac
import json
import os
import time
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..columns import Arrays
from . import predictions
from .bins import FEW
from .profile import Profile

if TYPE_CHECKING:
    import pandas as pd

    from ..serving.predictor import Predictor
    from ..settings import Anomalies

FOLDER = "anomalies"


class AnomalyLog:
    """Keeps the odd rows among what is served, until they are taken to be written."""

    def __init__(self, reference: Profile, rules: dict[str, Any]) -> None:
        self._most = int(rules.get("most_a_day", 0))
        self._confidence = float(rules.get("confidence", 0))
        self._hashed, self._dropped = set(rules.get("hashed", ())), set(rules.get("dropped", ()))
        self._key = os.environ.get("ANOMALY_KEY", "").encode()
        self._ranges = {n: f["range"] for n, f in reference.features.items() if "range" in f}
        self._token = uuid.uuid4().hex[:12]
        self._day, self._kept = "", 0
        self._lines: list[str] = []

    def add(self, columns: Arrays, output: np.ndarray, ids: list[str]) -> None:
        """Keep the rows that are odd, as far as the day has room for them."""
        day = time.strftime("%Y%m%d", time.gmtime())
        if day != self._day:
            self._day, self._kept = day, 0
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
            shown = {n: self._shown(n, values[i]) for n, values in columns.items() if n not in self._dropped}
            row = {name: value for name, value in shown.items() if value is not None}
            about = {"id": ids[i], "at": round(time.time()), "why": reasons[i], "row": row}
            self._lines.append(json.dumps(about | {"prediction": np.atleast_1d(output[i]).tolist()}) + "\n")
            self._kept += 1

    def _shown(self, name: str, value: Any) -> Any:
        """Return a value as it is logged; None where it is missing or must not be."""
        plain = value.item() if isinstance(value, np.generic) and value.dtype.kind != "M" else value
        plain = str(plain) if isinstance(plain, np.datetime64) else plain
        if name not in self._hashed:
            return None if plain != plain else plain
        if not self._key:
            return None
        return hmac.new(self._key, str(plain).encode(), hashlib.sha256).hexdigest()[:32]

    def take(self) -> tuple[str, list[str]]:
        """Return the name of the file of today and the lines for it, which are then the caller's."""
        lines, self._lines = self._lines, []
        return f"{FOLDER}/{self._day}-{self._token}.jsonl", lines

    def give_back(self, lines: list[str]) -> None:
        """Keep lines that could not be written."""
        self._lines = [*lines, *self._lines][: self._most]


def _outside(values: np.ndarray, low: float, high: float) -> list[int]:
    if len(values) <= FEW:
        return [i for i, value in enumerate(values.tolist()) if value < low or value > high]
    return np.flatnonzero((values < low) | (values > high)).tolist()


def residuals(made: "pd.DataFrame", model: "Predictor", folder: Path, rules: "Anomalies") -> int:
    """Log labelled predictions that are far off, without inputs; return how many are.

    A number: the residual is over so many standard deviations of the hold-out's; a class: the true one had a
    probability whose loss is as far over the hold-out's mean loss.
    """
    facts = model.manifest.metrics if model.manifest else {}
    values = made[[name for name in made if str(name).startswith("p")]].to_numpy(np.float64)
    if model.schema.classes:
        number = {str(label): i for i, label in enumerate(model.schema.classes)}
        truth = made["label"].astype(str).map(number).to_numpy(np.int64)
        loss = -np.log(np.clip(values[np.arange(len(made)), truth], 1e-12, 1))
        bar = facts.get("error", np.inf) + rules.sigma * facts.get("error_sd", np.inf)
    else:
        loss = np.abs(made["label"].to_numpy(np.float64) - values.reshape(-1))
        bar = rules.sigma * facts.get("rmse", np.inf)
    path = folder / FOLDER / f"{time.strftime('%Y%m%d', time.gmtime())}-labels.jsonl"
    room = rules.most_a_day - (path.read_text(encoding="utf-8").count("\n") if path.exists() else 0)
    far = made.assign(loss=loss)[loss > bar].head(max(room, 0))
    lines = [
        json.dumps({"id": row.id, "at": round(row.time), "why": [f"far off its label: {row.loss:.4g}"]})
        for row in far[["id", "time", "loss"]].itertuples()
    ]
    if lines:
        predictions.append(path, [line + "\n" for line in lines])
    return len(lines)
