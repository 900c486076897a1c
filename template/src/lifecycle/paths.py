"""Where things lie, relative to the project's root, from which every command runs."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

PARAMS = Path("params.yaml")
LOCK = Path("uv.lock")
ARTIFACTS = Path("artifacts")
RAW = ARTIFACTS / "raw.parquet"  # ingest
VALID = ARTIFACTS / "valid.parquet"  # validate
CANDIDATE = ARTIFACTS / "candidate"  # train, sealed by evaluate
HOLDOUT = ARTIFACTS / "holdout.parquet"  # train
TRAINING = ARTIFACTS / "training.json"  # train
METRICS = ARTIFACTS / "metrics.json"  # evaluate
REGISTERED = ARTIFACTS / "registered.json"  # register
WINDOWS = ARTIFACTS / "windows"  # the server's counts
SERVED = ARTIFACTS / "served"  # the version that `lifecycle serve` serves
LIVE = ARTIFACTS / "live"  # the version that the gate compares with


def write_text(path: Path, text: str) -> None:
    """Write a file whole or not at all: a reader, or the next run after a kill, never sees half of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".partial")
    partial.write_text(text, encoding="utf-8")
    partial.replace(path)


@contextmanager
def fresh_folder(to: Path) -> Iterator[Path]:
    """Give an empty folder to fill, which takes the place of `to` only when all went well."""
    to.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix=f".{to.name}-", dir=to.parent) as scratch:
        filled, old = Path(scratch) / "new", Path(scratch) / "old"
        filled.mkdir()
        yield filled
        if to.exists():
            to.rename(old)
        filled.rename(to)
