"""Keeps the number of windows small: those of three hours become one file, after a day those of a day.

A merged window names the files it came from, which are removed after it was written. Killed in between, both
are there: a reader leaves out what another file names, and the next compaction removes it. Windows never
change, so servers write on meanwhile.
"""

import fcntl
import json
import os
import uuid
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from pydantic_core import from_json  # half of json.loads' time, which is most of a check's

STAMP = "%Y%m%dT%H%M%SZ"
KEEP_DAYS = 90
MOST = 40  # files: 8 of the newest day, 8 of the week before, and what came since the last time
MERGED = "-merged-"
PULLED = ".pulled"  # these are copies of a bucket's, where they are merged


def compact(folder: Path, most: int = MOST) -> None:
    """Merge the windows in a folder when there are many, unless another process does or this one may not."""
    if sum(1 for _ in folder.glob("*.json")) <= most:
        return
    try:
        with _lock(folder) as mine:
            if mine and not (folder / PULLED).exists():
                merge(folder)
    except OSError:
        return  # somebody else's files, or a folder that is read-only here: it is for them to compact


def merge(folder: Path) -> None:
    """Merge the windows in a folder that is this process' alone."""
    _remove(folder, replaced(read(folder)))
    _merge(folder, datetime.now(UTC))


def read(folder: Path, oldest: str = "") -> dict[str, dict[str, Any]]:
    """Return the windows of a folder from a stamp on, by name."""
    while True:
        names = {path.name for path in folder.glob("*.json") if path.name >= oldest}
        try:
            windows = {n: from_json((folder / n).read_bytes()) for n in sorted(names)}
        except FileNotFoundError:
            continue  # merged since it was listed: what it became is in a new list
        # A list is not of one moment: it may lack both a window and what that was merged into.
        if all(path.name in names for path in folder.glob(f"*{MERGED}*.json") if path.name >= oldest):
            return windows


def replaced(windows: dict[str, dict[str, Any]]) -> set[str]:
    """Return the names of windows that a merged one holds."""
    return {name for window in windows.values() for name in window.get("of", ())} & windows.keys()


def total(windows: list[dict[str, Any]]) -> dict[str, Any]:
    """Add windows up; ValueError when their bins differ."""
    features = {}
    for name, first in windows[0]["features"].items():
        parts = [window["features"][name] for window in windows]
        if len({len(part["counts"]) for part in parts}) > 1:
            raise ValueError(f"the windows of {name} have other bins: are they of another version?")
        counts = [sum(bin) for bin in zip(*(part["counts"] for part in parts), strict=True)]
        single = [key for key in ("missing", "outside") if key in first]
        features[name] = {"counts": counts} | {key: sum(p.get(key, 0) for p in parts) for key in single}
    return {"features": features} | {key: sum(w[key] for w in windows) for key in ("rows", "rejected")}


@contextmanager
def _lock(folder: Path) -> Iterator[bool]:
    """Say whether this process alone compacts; the kernel gives the lock back when it dies."""
    with (folder / ".lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        yield True


def _merge(folder: Path, now: datetime) -> None:
    groups = defaultdict(list)
    day, oldest = (f"{now - timedelta(days=days):{STAMP}}" for days in (1, KEEP_DAYS))
    for name in sorted(path.name for path in folder.glob("*.json")):
        if name < oldest:
            (folder / name).unlink()
        else:
            groups[name[:8] if name < day else f"{name[:9]}{int(name[9:11]) // 3}"].append(name)
    for path in folder.glob("*.partial"):
        if path.name < day:  # of a process that was killed
            path.unlink()
    for names in groups.values():
        if len(names) > 1:
            merged = total([from_json((folder / name).read_bytes()) for name in names])
            # The newest stamp: a check that looks back to here counts all of it.
            stamp = names[-1].partition("-")[0]
            _write(folder / f"{stamp}{MERGED}{uuid.uuid4().hex[:8]}.json", merged | {"of": names})
            _remove(folder, set(names))


def _write(path: Path, window: dict[str, Any]) -> None:
    partial = path.with_suffix(".partial")
    with partial.open("w", encoding="utf-8") as file:
        json.dump(window, file, allow_nan=False)
        file.flush()
        os.fsync(file.fileno())  # what it replaces is removed at once
    partial.replace(path)


def _remove(folder: Path, names: set[str]) -> None:
    for name in names:
        (folder / name).unlink(missing_ok=True)
