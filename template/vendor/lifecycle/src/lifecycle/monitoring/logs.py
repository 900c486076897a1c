"""What was predicted, and which rows were unusual: lines in a file of each day and process.

A prediction's line, to which labels are joined later, has no inputs: "seconds,every,value…,id". When MOST
lines of a day are kept, every second row is kept from then on, then every fourth and so on. A reader thins
the day to the widest step, so that no hour weighs more.

Unusual rows are whole, as JSON, for a person to look at. Columns that params.yaml names are dropped, or
hashed with the key in ANOMALY_KEY (without one they are dropped too: a plain hash of a name is soon undone).
"""

import hmac
import json
import os
import time
import uuid
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import files
from ..data.arrays import Arrays
from .histogram import FEW
from .profile import Profile

if TYPE_CHECKING:
    import pandas as pd

PREDICTIONS, ANOMALIES = "predictions", "anomalies"  # folders beside the counts
MOST = 50_000  # predictions of a day, about 3 MB
KEEP_DAYS = 90  # of counts, logs and labels


class DailyLog:
    """Keeps lines for a file of each day and process until they are written: at most `room` lines.

    name: of the files, with {} for the day and the process.
    """

    def __init__(self, name: str, room: int) -> None:
        self._name, self._room = name, room
        self._day = self.token = self.file = ""
        self.lines: list[str] = []

    def begins(self, now: float) -> bool:
        """Return whether a day begins; it gets a file of its own."""
        day = time.strftime("%Y%m%d", time.gmtime(now))
        if day == self._day:
            return False
        self._day, self.token, self._kept = day, uuid.uuid4().hex[:12], 0
        self.file = self._name.format(f"{day}-{self.token}")
        return True

    def keep(self, line: str) -> None:
        """Keep a line, if there is room: what could not be written must not fill the memory."""
        self._kept += 1
        if len(self.lines) < self._room:
            self.lines.append(line + "\n")


class PredictionLog(DailyLog):
    """Gives each prediction an id, and keeps a line for it."""

    def __init__(self, most: int = MOST) -> None:
        super().__init__(PREDICTIONS + "/{}.csv", 2 * most)
        self._most = most

    def add(self, output: np.ndarray, now: float) -> list[str]:
        """Return an id for each prediction: [rows] numbers or [rows, classes] probabilities."""
        if self.begins(now):
            self._number, self._every, self._limit = 0, 1, self._most
        ids = [f"{self.token}-{self._number + i}" for i in range(len(output))]
        for i in range(-self._number % self._every, len(output), self._every):
            values = ",".join(f"{value:.7g}" for value in np.atleast_1d(output[i]).tolist())
            self.keep(f"{now:.0f},{self._every},{values},{ids[i]}")
        if self._kept >= self._limit:
            self._every *= 2
            self._limit += self._most // 2
        self._number += len(output)
        return ids


class AnomalyLog(DailyLog):
    """Keeps rows of which the model was unsure, or with a value out of the reference's ranges.

    rules: the section `anomalies` of params.yaml as the model was trained; {}: nothing is logged.
    """

    def __init__(self, reference: Profile, rules: dict[str, Any]) -> None:
        self._most, self._confidence = int(rules.get("most_a_day", 0)), float(rules.get("confidence", 0))
        super().__init__(ANOMALIES + "/{}.jsonl", self._most)
        self._hashed, self._key = set(rules.get("hashed", ())), os.environ.get("ANOMALY_KEY", "").encode()
        self._dropped = set(rules.get("dropped", ())) | (set() if self._key else self._hashed)
        self._ranges = {n: f["range"] for n, f in reference.features.items() if "range" in f}

    def add(self, columns: Arrays, output: np.ndarray, ids: list[str], now: float) -> None:
        """Keep the rows that are unusual, as far as the day has room for them."""
        if not self.begins(now) and self._kept >= self._most:
            return
        reasons: dict[int, list[str]] = {}
        if output.ndim == 2:
            for i in np.flatnonzero(output.max(axis=1) < self._confidence).tolist():
                reasons.setdefault(i, []).append("low confidence")
        for name, (low, high) in self._ranges.items():
            for i in _outside(columns[name], low, high) if name in columns else ():
                reasons.setdefault(i, []).append(f"{name} out of range")
        for i in sorted(reasons)[: self._most - self._kept]:
            known = {name: values[i] for name, values in columns.items() if name not in self._dropped}
            row = {name: value for name, value in known.items() if value == value}  # not NaN, not NaT
            for name in self._hashed & row.keys():
                row[name] = hmac.new(self._key, str(row[name]).encode(), "sha256").hexdigest()[:32]
            facts = {"id": ids[i], "at": round(now), "why": reasons[i], "row": row}
            facts["prediction"] = np.atleast_1d(output[i]).tolist()
            self.keep(json.dumps(facts, default=str))  # times as text


def _outside(values: np.ndarray, low: float, high: float) -> list[int]:
    if len(values) <= FEW:
        return [i for i, value in enumerate(values.tolist()) if value < low or value > high]
    return np.flatnonzero((values < low) | (values > high)).tolist()


def append(path: Path, lines: list[str]) -> None:
    """Append lines to a log; the first ones of a new file remove the oldest files beside it."""
    is_new = not path.exists()
    files.append_lines(path, lines)
    if is_new:
        files.remove_old(path.parent, KEEP_DAYS)


def read_predictions(folder: Path, since: float) -> "pd.DataFrame":
    """Return a version's predictions from a time (seconds since 1970) on: id, time and p0, p1, …"""
    import pandas as pd  # not in the server

    day, found = time.strftime("%Y%m%d", time.gmtime(since)), []
    for path in sorted((folder / PREDICTIONS).glob("*.csv")):
        lines = files.read_lines(path) if path.name >= day else []
        if (values := max((line.count(",") for line in lines), default=0) - 2) > 0:  # a torn line has fewer
            names, text = ["time", "every", *(f"p{i}" for i in range(values)), "id"], "\n".join(lines)
            frame = pd.read_csv(StringIO(text), names=names, dtype={"id": str}, on_bad_lines="skip").dropna()
            sound = frame["id"].str.fullmatch(r"\w+-\d+").astype(bool)
            found.append(frame[sound].astype({"time": float, "every": int}))
    if not found:
        return pd.DataFrame({"id": pd.Series(dtype=str), "time": []})
    whole = pd.concat(found).drop_duplicates("id", ignore_index=True)  # a failed append is repeated whole
    token, _, number = whole["id"].str.rpartition("-").to_numpy().T
    step = whole.groupby([token, whole["time"] // files.DAY])["every"].transform("max")
    even = pd.Series(number).astype(int) % step == 0
    return whole[even & (whole["time"] >= since)].drop(columns="every")
