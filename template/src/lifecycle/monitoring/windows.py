"""What was served, as small files of counts: mergeable across processes and hosts, and no row in them."""

import json
import os
import threading
import time
import uuid
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np

from ..columns import Arrays
from ..project import write_text
from . import compaction
from .anomalies import AnomalyLog
from .compaction import STAMP
from .predictions import PredictionLog, append
from .profile import Profile

COMPACT = 60  # windows that a server writes before it merges them


class Recorder:
    """Counts what a server sees, and writes a window every few seconds and at the end.

    A kill loses at most the seconds since the last window.
    """

    def __init__(
        self,
        reference: Profile,
        folder: Path,
        version: str,
        seconds: float,
        rules: dict[str, Any] | None = None,
    ) -> None:
        """rules: those of the anomaly log, from the params that the model was trained with."""
        self._reference = reference
        self._folder = folder / version
        self._seconds = seconds
        self._lock = threading.Lock()
        self._window, self._rejected = reference.empty(), 0
        self._logs = PredictionLog(), AnomalyLog(reference, rules or {})
        self._written = 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._flush_often, daemon=True)

    def start(self) -> None:
        """Make sure that the folder takes files (OSError if not) and start the timer."""
        self._folder.mkdir(parents=True, exist_ok=True)
        if not os.access(self._folder, os.W_OK):
            raise PermissionError(f"{self._folder} is not writable")
        self._thread.start()

    def add(self, columns: Arrays, predictions: np.ndarray) -> list[str]:
        """Count rows and what was predicted for them; return an id for each prediction."""
        made, odd = self._logs
        with self._lock:
            self._window.add(columns, predictions)
            ids = made.add(predictions)
            odd.add(columns, predictions, ids)
        return ids

    def reject(self, rows: int) -> None:
        """Count rows that were refused because they break the schema."""
        with self._lock:
            self._rejected += rows

    def flush(self) -> None:
        """Write what came since the last time, if anything; what cannot be written is kept."""
        self._flush_window()
        for log in self._logs:
            with self._lock:
                name, lines = log.take()
            try:
                if lines:
                    self.append(name, lines)
            except BaseException:
                with self._lock:
                    log.give_back(lines)
                raise

    def _flush_window(self) -> None:
        with self._lock:
            window, rejected = self._window, self._rejected
            self._window, self._rejected = self._reference.empty(), 0
        if not window.rows and not rejected:
            return
        name = f"{datetime.now(UTC):{STAMP}}-{os.getpid()}-{uuid.uuid4().hex[:8]}.json"
        try:
            self.write(name, json.dumps({**window.counts_only(), "rejected": rejected}, allow_nan=False))
        except BaseException:
            with self._lock:
                self._window.merge(window)
                self._rejected += rejected
            raise

    def write(self, name: str, text: str) -> None:
        """Put a window where the drift check reads it."""
        write_text(self._folder / name, text)
        self._written += 1
        if self._written % COMPACT == 0:
            compaction.compact(self._folder)

    def append(self, name: str, lines: list[str]) -> None:
        """Put lines of a log where they are looked for."""
        append(self._folder / name, lines)

    def close(self) -> None:
        self._stop.set()
        self._thread.join()
        self.flush()

    def _flush_often(self) -> None:
        while not self._stop.wait(self._seconds):
            try:
                self.flush()
            except OSError as error:  # a full disk must not end serving; the next flush says so again
                print(f"{time.strftime('%X')} cannot write the served counts: {error}", flush=True)


def collect(reference: Profile, folder: Path, version: str, hours: float) -> tuple[Profile, int]:
    """Add up a version's windows of the last hours: returns the counts and the rows rejected.

    Windows older than a day are of a whole day, so the far end is a day's, too.
    """
    windows = compaction.read(folder / version, f"{datetime.now(UTC) - timedelta(hours=hours):{STAMP}}")
    double = compaction.replaced(windows)
    used = [window for name, window in windows.items() if name not in double]
    current = reference.empty()
    if not used:
        return current, 0
    total = compaction.total(used)
    current.add_counts(total)
    return current, total["rejected"]
