"""Reads any CSV or Parquet file and records how, so that the data.py written later reads it the same way."""

import codecs
import csv
import gzip
import io
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from ..errors import DataError

SAMPLE = 200_000  # characters in which the delimiter is searched
CHUNK = 1 << 20  # characters


@dataclass(frozen=True)
class Source:
    """A file as it stands. In a CSV file every value is still text, and none counts as missing."""

    path: Path
    rows: pd.DataFrame
    header: list[str]  # the names as written, duplicates included
    options: dict[str, Any] = field(default_factory=dict)  # of pandas.read_csv
    parquet: bool = False


def read(path: Path) -> Source:
    """Read a file by its content, whatever its name. Raises DataError if it is neither CSV nor Parquet."""
    try:
        with path.open("rb") as file:
            start = file.read(4)
        if start == b"PAR1":
            return _parquet(path)
        return _csv(path, gzip.open if start[:2] == b"\x1f\x8b" else open)
    except (OSError, ValueError, csv.Error, pa.ArrowException) as error:
        way = "save it as a CSV file with a line of column names, or as Parquet"
        raise DataError(f"{path} cannot be read as CSV or Parquet: {error}", way) from error


def _parquet(path: Path) -> Source:
    """Keep integers and booleans with gaps, which pandas would turn into floats and objects."""
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
    options: dict[str, Any] = {"sep": delimiter, "encoding": encoding}
    options |= {"compression": "gzip"} if opener is gzip.open else {}
    options |= {"skipinitialspace": True} if all(name[:1] == " " for name in header[1:]) else {}
    rows = pd.read_csv(path, dtype=str, na_filter=False, index_col=False, **options)
    return Source(path, rows, header, options)


def _encoding(path: Path, opener: Callable[..., Any]) -> str:
    """Return UTF-8 if the whole file decodes as it, else Latin-1, in which any bytes decode."""
    with opener(path, "rb") as file:
        start = file.read(3)
    if start[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE):
        return "utf-16"
    try:
        with opener(path, "rt", encoding="utf-8", newline="") as file:
            while file.read(CHUNK):
                pass
    except UnicodeDecodeError:
        return "latin-1"
    return "utf-8-sig" if start == codecs.BOM_UTF8 else "utf-8"


def _sniff(sample: str) -> tuple[str, list[str]]:
    """Return the delimiter that gives most lines as many fields as the first line, and that first line."""
    best, names, delimiter = (0.0, 1), [], ","
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
