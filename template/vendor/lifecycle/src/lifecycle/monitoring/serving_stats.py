"""What was served, as small files of counts: one for each process and hour, and no row in them.

Each flush rewrites the current hour's file with all that this process has counted in that hour. So nothing is
merged, locked or counted twice, and a kill loses at most the seconds since the last flush.
"""

import json
import os
import threading
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pydantic_core import from_json  # half of json.loads' time, which is most of a check's

from .. import files
from ..data.arrays import Arrays
from ..errors import DataError
from .logs import KEEP_DAYS, AnomalyLog, PredictionLog, append
from .profile import Profile

HOUR = "%Y%m%dT%H"  # in UTC, the beginning of a file's name
MOST_HOURS = 168  # whose counts are kept when they cannot be written: a full disk must not fill the memory


@dataclass
class _Hour:
    name: str  # of its file, which begins with the hour
    counts: Profile
    rejected: int = 0
    saved: int = 0  # rows that its file holds

    @property
    def rows(self) -> int:
        return self.counts.rows + self.rejected


class Recorder:
    """Counts what a server sees and writes the counts every few seconds and at the end. Threads may share it.

    A subclass that writes elsewhere overrides write() and append().
    """

    def __init__(
        self,
        reference: Profile,  # whose bins are counted into
        folder: Path,  # files go into folder/version
        version: str,
        seconds: float,  # between two flushes
        rules: dict[str, Any] | None = None,  # of the anomaly log, as the model was trained
        clock: Callable[[], float] = time.time,  # seconds since 1970
    ) -> None:
        self._reference, self._folder = reference, folder / version
        self._seconds, self._clock = seconds, clock
        self._lock = threading.Lock()  # of what is counted
        self._flushing = threading.Lock()  # so that an older content never replaces a newer one
        self._hours: list[_Hour] = []  # rows are counted into the last one
        self._logs = PredictionLog(), AnomalyLog(reference, rules or {})
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._flush_often, daemon=True)

    def start(self) -> None:
        """Start the timer. Raises OSError if the folder takes no files."""
        self._folder.mkdir(parents=True, exist_ok=True)
        if not os.access(self._folder, os.W_OK):
            raise PermissionError(f"{self._folder} is not writable")
        self._thread.start()

    def add(self, columns: Arrays, predictions: np.ndarray) -> list[str]:
        """Count rows and what was predicted for them. Returns an id for each prediction."""
        made, odd = self._logs
        with self._lock:
            now = self._clock()
            self._hour(now).counts.add(columns, predictions)
            ids = made.add(predictions, now)
            odd.add(columns, predictions, ids, now)
        return ids

    def reject(self, rows: int) -> None:
        """Count rows that were refused because they break the schema."""
        with self._lock:
            self._hour(self._clock()).rejected += rows

    def _hour(self, now: float) -> _Hour:
        """Return what to count into. The hours before it are kept until they are saved."""
        begins = time.strftime(HOUR, time.gmtime(now))
        if not self._hours or not self._hours[-1].name.startswith(begins):
            # A new token each time, so that nothing else has this file: not this process either, if the clock
            # was set back, nor one that was forked or restored from the same snapshot.
            name = f"{begins}-{uuid.uuid4().hex[:12]}.json"
            unsaved = [hour for hour in self._hours if hour.rows != hour.saved]
            self._hours = [*unsaved[-MOST_HOURS:], _Hour(name, self._reference.empty())]
        return self._hours[-1]

    def flush(self) -> None:
        """Write what is new since the last time. What cannot be written is kept for the next time."""
        with self._flushing:
            for hour in self._hours:  # of this moment: _hour() replaces the list
                with self._lock:
                    rows, counts = hour.rows, hour.counts.counts_only() | {"rejected": hour.rejected}
                if rows != hour.saved:
                    self.write(hour.name, json.dumps(counts, allow_nan=False))
                    hour.saved = rows
            for log in self._logs:
                with self._lock:
                    name, lines = log.file, log.lines.copy()
                if lines:
                    self.append(name, lines)
                    with self._lock:
                        del log.lines[: len(lines)]

    def write(self, name: str, text: str) -> None:
        """Put the counts of an hour where the drift check reads them, in place of older ones."""
        is_new = not (self._folder / name).exists()
        files.write_text(self._folder / name, text)
        if is_new:
            files.remove_old(self._folder, KEEP_DAYS)

    def append(self, name: str, lines: list[str]) -> None:
        """Append lines to a log beside the counts."""
        append(self._folder / name, lines)

    def close(self) -> None:
        """Stop the timer and write the rest."""
        self._stop.set()
        self._thread.join()
        self.flush()

    def _flush_often(self) -> None:
        while not self._stop.wait(self._seconds):
            try:
                self.flush()
            except OSError as error:  # a full disk must not end serving; the next flush tries again
                print(f"{time.strftime('%X')} cannot write the served counts: {error}", flush=True)


def collect(
    reference: Profile, folder: Path, version: str, hours: float, clock: Callable[[], float] = time.time
) -> tuple[Profile, int]:
    """Add up what all processes have counted of a version in the last hours, and how many rows were refused.

    Hours are whole: the oldest one counts from its beginning, up to 60 minutes earlier than asked for.
    Raises DataError that names a file which is damaged, or has other bins than the reference.
    """
    oldest, current = time.strftime(HOUR, time.gmtime(clock() - hours * 3600)), reference.empty()
    recent = sorted(path for path in (folder / version).glob("*.json") if path.name >= oldest)
    return current, current.add_counts(filter(None, (_read(path, reference) for path in recent)))


def _read(path: Path, reference: Profile) -> dict[str, Any] | None:
    """Return the content of a file; None if it holds no row, or was removed since it was listed."""
    try:
        part = from_json(path.read_bytes())
        for name, feature in reference.features.items():
            if len(part["features"][name]["counts"]) != len(feature["counts"]):
                raise ValueError(f"the counts of {name} have other bins than the version's profile")
        return part if part["rows"] + part["rejected"] else None
    except FileNotFoundError:
        return None
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(f"{path}: {error}", "remove that file: the counts of its hour are lost") from error
