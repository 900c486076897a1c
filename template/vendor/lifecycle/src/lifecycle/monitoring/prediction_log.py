"""What was predicted, by id, and when: no inputs. A day's file per process, which labels are joined to later.

A line is "seconds,every,value…,id". When MOST lines of a day are kept, every second row is kept from then on,
then every fourth and so on. A reader thins the day to the widest step, so that no hour weighs more.
"""

import time
import uuid
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from .. import files

if TYPE_CHECKING:
    import pandas as pd

FOLDER = "predictions"
MOST = 50_000  # about 3 MB
KEEP_DAYS = 90  # of counts, logs and labels


class DailyLog:
    """Keeps lines for a file of each day and process until they are written, as far as there is room.

    name: of the files, with {} for the day and the process. room: lines that are kept at most.
    """

    def __init__(self, name: str, room: int) -> None:
        self._name, self._room = name, room
        self._day, self.token, self.file = "", "", ""  # file: the name of the day's
        self.lines: list[str] = []

    def begins(self, now: float) -> bool:
        """Return whether a day begins; it gets a file of its own."""
        day = time.strftime("%Y%m%d", time.gmtime(now))
        if day == self._day:
            return False
        self._day, self.token = day, uuid.uuid4().hex[:12]
        self.file = self._name.format(f"{day}-{self.token}")
        return True

    def keep(self, line: str) -> None:
        """Keep a line, if there is room: what could not be written must not fill the memory."""
        if len(self.lines) < self._room:
            self.lines.append(line + "\n")


class PredictionLog(DailyLog):
    """Gives each prediction an id, and keeps a line for it."""

    def __init__(self, most: int = MOST) -> None:
        super().__init__(FOLDER + "/{}.csv", 2 * most)
        self._most = most

    def add(self, output: np.ndarray, now: float) -> list[str]:
        """Return an id for each prediction: [rows] numbers or [rows, classes] probabilities."""
        if self.begins(now):
            self._number, self._kept, self._every, self._limit = 0, 0, 1, self._most
        ids = [f"{self.token}-{self._number + i}" for i in range(len(output))]
        for i in range(-self._number % self._every, len(output), self._every):
            values = ",".join(f"{value:.7g}" for value in np.atleast_1d(output[i]).tolist())
            self.keep(f"{now:.0f},{self._every},{values},{ids[i]}")
            self._kept += 1
        if self._kept >= self._limit:
            self._every *= 2
            self._limit += self._most // 2
        self._number += len(output)
        return ids


def append(path: Path, lines: list[str]) -> None:
    """Append lines to a log; the first ones of a new file remove the oldest files beside it."""
    is_new = not path.exists()
    files.append_lines(path, lines)
    if is_new:
        files.remove_old(path.parent, KEEP_DAYS)


def read(folder: Path, since: float) -> "pd.DataFrame":
    """Return a version's predictions from a time (seconds since 1970) on: id, time and p0, p1, …"""
    import pandas as pd  # not in the server

    day, found = time.strftime("%Y%m%d", time.gmtime(since)), []
    for path in sorted((folder / FOLDER).glob("*.csv")):
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
