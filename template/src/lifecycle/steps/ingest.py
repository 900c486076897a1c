"""ingest: from wherever your data.py reads to one Parquet file."""

import pandas as pd

from .. import project
from ..errors import DataError
from ..project import RAW


def run() -> str:
    """Write artifacts/raw.parquet; DataError when data.py cannot read its source or finds no rows."""
    data = project.load("data")
    try:
        frame = data.load()
    except (OSError, ValueError, KeyError) as error:
        raise DataError(f"{data.__file__}: load() failed: {error}", "look at load() in data.py") from error
    if not isinstance(frame, pd.DataFrame) or frame.empty:
        raise DataError(f"{data.__file__}: load() returned no rows", "look at load() in data.py")
    write_parquet(frame, RAW)
    return f"{len(frame):,} rows, {frame.shape[1]} columns"


def write_parquet(frame: pd.DataFrame, path) -> None:
    """Write a frame whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".partial")
    frame.to_parquet(partial, index=False)
    partial.replace(path)
