"""The one way in which files are written: whole or not at all; and read, though a kill has torn them."""

import json
import os
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd

DAY = 86_400  # seconds


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a partial file beside `path` to write, which takes its place, whole, only when all went well."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.partial")
    try:
        yield partial
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write a text file whole or not at all."""
    with replacing(path) as partial:
        partial.write_text(text, encoding="utf-8")


def write_parquet(frame: "pd.DataFrame", path: Path) -> None:
    """Write a pandas frame as Parquet, without its index, whole or not at all."""
    with replacing(path) as partial:
        frame.to_parquet(partial, index=False)


def to_json(value: Any) -> str:
    """Return JSON in the one form that digests are taken of: sorted, readable, no NaN."""
    return json.dumps(value, indent=2, sort_keys=True, allow_nan=False, default=str) + "\n"


@contextmanager
def fresh_folder(to: Path) -> Iterator[Path]:
    """Give an empty folder to fill, which takes the place of `to` only when all went well."""
    to.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix=f".{to.name}-", dir=to.parent) as scratch:
        filled = Path(scratch, "new")
        filled.mkdir()
        yield filled
        if to.exists():
            to.rename(Path(scratch, "old"))
        filled.rename(to)


def append_lines(path: Path, lines: list[str]) -> None:
    """Append whole lines, each with its newline, in one write. Raises OSError where the disk is full."""
    path.parent.mkdir(parents=True, exist_ok=True)
    data = "".join(lines).encode()
    file = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        size = os.fstat(file).st_size
        if size and os.pread(file, 1, size - 1) != b"\n":  # a torn line stays alone
            data = b"\n" + data
        while data:  # a disk that is nearly full takes a part, and fails at the next write
            data = data[os.write(file, data) :]
    finally:
        os.close(file)


def read_lines(path: Path) -> list[str]:
    """Return the lines of a file without a last one that a kill has torn; [] where there is no file."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return []
    return text[: text.rfind("\n") + 1].splitlines()


def remove_old(folder: Path, days: float) -> None:
    """Remove the files of a folder, partial ones among them, that were last written so many days ago."""
    oldest = time.time() - days * DAY
    for path in folder.iterdir() if folder.is_dir() else ():
        with suppress(OSError):  # another process removed it first, or it is somebody else's
            if path.is_file() and path.stat().st_mtime < oldest:
                path.unlink()
