"""What was predicted, by id, and when: no inputs. A day's file per process, which labels are joined to later.

A line is "seconds,every,value…,id". When MOST lines of a day are kept it is every second row from then on,
then every fourth and so on. A reader thins the whole day to the widest step, so that no hour weighs more.
"""

import time
import uuid
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import pandas as pd

FOLDER = "predictions"
MOST = 50_000  # about 3 MB
KEEP_DAYS = 90


class PredictionLog:
    """Gives each prediction an id, and keeps lines until they are taken to be written."""

    def __init__(self, most: int = MOST) -> None:
        self._token = uuid.uuid4().hex[:12]
        self._number = 0
        self._most = most
        self._day = ""
        self._lines: list[str] = []

    def add(self, output: np.ndarray) -> list[str]:
        """Return an id for each prediction: [rows] numbers or [rows, classes] probabilities."""
        now = time.time()
        day = time.strftime("%Y%m%d", time.gmtime(now))
        if day != self._day:
            self._day, self._kept, self._every, self._room = day, 0, 1, self._most
        ids = [f"{self._token}-{self._number + i}" for i in range(len(output))]
        for i in range(-self._number % self._every, len(output), self._every):
            values = np.atleast_1d(output[i]).tolist()
            text = ",".join(f"{value:.7g}" for value in values)
            self._lines.append(f"{now:.0f},{self._every},{text},{ids[i]}\n")
            self._kept += 1
        if self._kept >= self._room:
            self._every *= 2
            self._room += self._most // 2
        self._number += len(output)
        return ids

    def take(self) -> tuple[str, list[str]]:
        """Return the name of the file of today and the lines for it, which are then the caller's."""
        lines, self._lines = self._lines, []
        return f"{FOLDER}/{self._day}-{self._token}.csv", lines

    def give_back(self, lines: list[str]) -> None:
        """Keep lines that could not be written, as far as there is room for them."""
        self._lines = [*lines, *self._lines][: 2 * self._most]


def append(path: Path, lines: list[str]) -> None:
    """Append lines in one write; the first of a new day removes the oldest days."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        oldest = time.strftime("%Y%m%d", time.gmtime(time.time() - KEEP_DAYS * 86400))
        for old in path.parent.iterdir():
            if old.name < oldest:
                old.unlink(missing_ok=True)
    with path.open("a", encoding="utf-8") as file:
        file.write("".join(lines))


def read(folder: Path, since: float) -> "pd.DataFrame":
    """Return a version's predictions from a time (seconds since 1970) on: id, time and p0, p1, …"""
    import pandas as pd  # not in the server

    day = time.strftime("%Y%m%d", time.gmtime(since))
    found = [
        part
        for path in sorted((folder / FOLDER).glob("*.csv"))
        if path.name >= day and path.stat().st_size and (part := _read_one(path)) is not None
    ]
    if not found:
        return pd.DataFrame({"id": pd.Series(dtype=str), "time": []})
    whole = pd.concat(found, ignore_index=True)
    token, _, number = whole["id"].str.rpartition("-").to_numpy().T
    step = whole.groupby([token, whole["time"] // 86400])["every"].transform("max")
    even = pd.Series(number).astype(int) % step == 0
    return whole[even & (whole["time"] >= since)].drop(columns="every")


def _read_one(path: Path) -> "pd.DataFrame | None":
    """Read a file, without a last line that a kill has torn."""
    import pandas as pd

    text = path.read_text(encoding="utf-8")
    text = text[: text.rfind("\n") + 1]
    width = text.partition("\n")[0].count(",") + 1
    if width < 4:
        return None
    names = ["time", "every", *(f"p{i}" for i in range(width - 3)), "id"]
    lines = pd.read_csv(
        StringIO(text), names=names, header=None, dtype={"id": str}, on_bad_lines="skip"
    ).dropna()
    sound = lines["id"].str.rpartition("-")[2].str.isdigit()
    return lines[sound].astype({"time": float, "every": int})
