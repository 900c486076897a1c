"""Read any CSV or Parquet file, and know how: the data.py that is written reads it the same way."""

import codecs
import csv
import gzip
import io
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from lifecycle.errors import DataError

SAMPLE = 200_000  # characters to find the delimiter in
MEND = "save it as a CSV file with a line of column names, or as Parquet"


@dataclass(frozen=True)
class Source:
    """A file as it stands: of a CSV file every value is text, and nothing is taken for missing yet."""

    path: Path
    rows: pd.DataFrame
    header: list[str]
    options: dict[str, Any] = field(default_factory=dict)  # of read_csv, beyond its defaults
    parquet: bool = False


def read(path: Path) -> Source:
    """Read a file by its content, not by its name; DataError when it is neither CSV nor Parquet."""
    try:
        with path.open("rb") as file:
            start = file.read(4)
        if start == b"PAR1":
            return _parquet(path)
        return _csv(path, gzip.open if start[:2] == b"\x1f\x8b" else open)
    except (OSError, ValueError, csv.Error, pa.ArrowException) as error:
        raise DataError(f"{path} cannot be read as CSV or Parquet: {error}", MEND) from error


def _parquet(path: Path) -> Source:
    """Keep whole numbers and flags with gaps, which pandas makes floats and objects of."""
    schema = pq.read_schema(path)
    rows = pd.read_parquet(path).reset_index(drop=True)
    for name in rows.columns.intersection(schema.names):
        kind, gaps = schema.field(name).type, rows[name].isna().any()
        if isinstance(rows[name].dtype, pd.CategoricalDtype):
            rows[name] = rows[name].astype(object)
        if gaps and (pa.types.is_integer(kind) or pa.types.is_boolean(kind)):
            rows[name] = rows[name].astype("Int64" if pa.types.is_integer(kind) else "boolean")
    return Source(path, rows, [str(name) for name in rows.columns], parquet=True)


def _csv(path: Path, opener: Callable[..., Any]) -> Source:
    encoding = _encoding(path, opener)
    with opener(path, "rt", encoding=encoding, newline="") as file:
        sample = file.read(SAMPLE)
    if "\0" in sample:
        raise ValueError("it is not a text file")
    delimiter, header = _sniff(sample)
    wanted: dict[str, tuple[Any, Any]] = {
        "sep": (delimiter, ","),
        "encoding": (encoding, "utf-8"),
        "compression": ("gzip" if opener is gzip.open else None, None),
        "skipinitialspace": (all(name[:1] == " " for name in header[1:]), False),
    }
    options: dict[str, Any] = {key: value for key, (value, default) in wanted.items() if value != default}
    rows = pd.read_csv(path, dtype=str, na_filter=False, index_col=False, **options)
    return Source(path, rows, header, options)


def _encoding(path: Path, opener: Callable[..., Any]) -> str:
    """Return utf-8 when the whole file decodes as it, else latin-1, which any bytes are."""
    with opener(path, "rb") as file:
        start, chunks = file.read(3), iter(partial(file.read, 1 << 20), b"")
        if start[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE):
            return "utf-16"
        decoder = codecs.getincrementaldecoder("utf-8")()
        try:
            decoder.decode(start)
            for chunk in chunks:
                decoder.decode(chunk)
            decoder.decode(b"", final=True)
        except UnicodeDecodeError:
            return "latin-1"
    return "utf-8-sig" if start == codecs.BOM_UTF8 else "utf-8"


def _sniff(sample: str) -> tuple[str, list[str]]:
    """Return the delimiter by which most lines have as many fields as the first, and that first line."""
    best, names = (0.0, 1), []
    delimiter = ","
    for tried in ",;\t|":
        lines = [line for line in csv.reader(io.StringIO(sample), delimiter=tried) if line]
        lines = lines[:-1] if len(sample) == SAMPLE else lines
        if not lines or len(lines[0]) < 2:
            continue
        header, others = lines[0], lines[1:] or lines[:1]
        score = (round(sum(len(line) == len(header) for line in others) / len(others), 2), len(header))
        if score > best:
            best, delimiter, names = score, tried, header
    if best[0] < 0.5:
        raise ValueError("no delimiter (comma, semicolon, tab, |) divides its lines into columns")
    if all(name.strip().replace(".", "", 1).lstrip("-").isdigit() for name in names):
        raise ValueError("its first line holds numbers, not the names of columns")
    return delimiter, names
