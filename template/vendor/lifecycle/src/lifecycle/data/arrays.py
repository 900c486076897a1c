"""Columns as NumPy arrays: what features.py and the model take, in training and in the server alike.

Numbers and flags are float64 with NaN for missing, categories are text with "missing" for missing, times are
datetime64[us].
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import numpy as np

from .schema import MISSING, Column

Arrays = dict[str, np.ndarray]  # a column's name -> [rows]


def from_frame(frame: Any, columns: Iterable[Column]) -> Arrays:
    """Turn the columns of a pandas frame into arrays."""
    return {column.name: _of_series(frame[column.name], column) for column in columns}


def _of_series(series: Any, column: Column) -> np.ndarray:
    if column.kind == "category":
        return series.astype(object).where(series.notna(), MISSING).to_numpy(dtype=object)
    if column.kind == "datetime":
        return series.to_numpy(dtype="datetime64[us]")
    return series.to_numpy(dtype=np.float64, na_value=np.nan)


def from_rows(rows: Sequence[Mapping[str, Any]], columns: Iterable[Column]) -> Arrays:
    """Turn the rows of a checked request into the same arrays as from_frame."""
    return {column.name: _of_values([row.get(column.name) for row in rows], column) for column in columns}


def _of_values(values: list[Any], column: Column) -> np.ndarray:
    if column.kind == "category":
        return np.array([MISSING if value is None else value for value in values], dtype=object)
    if column.kind == "datetime":
        return np.array([_without_zone(value) for value in values], dtype="datetime64[us]")
    return np.array([np.nan if value is None else value for value in values], dtype=np.float64)


def _without_zone(value: datetime | str | None) -> datetime | None:
    """Turn a time into UTC without its zone: NumPy times have none, and schema.py declares none."""
    moment = datetime.fromisoformat(value) if isinstance(value, str) else value
    return moment.astimezone(UTC).replace(tzinfo=None) if moment and moment.tzinfo else moment


def to_float32(values: np.ndarray) -> np.ndarray:
    """Round to float32 without its last three bits (1e-6 of a value), in training and in the server alike.

    A tree's split lies halfway between two values. Where they are neighbours in float32 there is nothing
    between them, and ONNX may put a row on the other side; on this coarser grid there always is.
    """
    bits = np.ascontiguousarray(values, dtype=np.float32).view(np.uint32)
    return ((bits + np.uint32(4)) & np.uint32(0xFFFFFFF8)).view(np.float32)


def model_input(values: np.ndarray) -> np.ndarray:
    """Return a column of features.py as ONNX takes it: [rows, 1] of text or float32."""
    array = values.astype(object) if values.dtype.kind in "OUS" else to_float32(values)
    return array.reshape(-1, 1)
