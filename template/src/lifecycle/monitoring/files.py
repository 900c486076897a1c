"""Count a Parquet file as the server counts requests, in a stream: memory does not grow with the file.

What schema.json can say is checked on Arrow's columns. A batch that breaks it, or a schema.py with checks of
another kind, goes through validate's own check, which says what is wrong and where.
"""

from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute
from pyarrow.parquet import ParquetFile

from .. import columns
from ..columns import Column
from ..errors import DataError
from ..serving.predictor import Predictor
from ..steps.validate import check
from . import bins
from .profile import Profile

pc: Any = pyarrow.compute  # whose functions are made at import: no type checker sees them
BATCH_ROWS = 50_000
PREDICTED = 20_000  # rows, evenly spread over the file: the shares of predictions are known to half a percent
PLAIN = {"isin", "greater_than_or_equal_to", "less_than_or_equal_to"}  # and in_range with its ends
TYPES = {
    "number": lambda kind: pa.types.is_floating(kind) or pa.types.is_integer(kind),
    "integer": pa.types.is_integer,
    "boolean": pa.types.is_boolean,
    "category": lambda kind: pa.types.is_string(kind) or pa.types.is_large_string(kind),
    "datetime": pa.types.is_timestamp,
}


def count(source: Path, predictor: Predictor, reference: Profile, schema: ModuleType) -> Profile:
    """Return the file's counts; DataError when a batch breaks schema.py or the file is not Parquet."""
    counted = reference.empty()
    declared = schema.SCHEMA.select_columns([column.name for column in predictor.schema.columns])
    plain = is_plain(declared)
    try:
        # Without these two Arrow reads ahead, and keeps what it has read until the end.
        with ParquetFile(source, buffer_size=1 << 20, pre_buffer=False) as parquet:
            every = max(1, parquet.metadata.num_rows // PREDICTED)
            names = [name for name in declared.columns if name in parquet.schema_arrow.names]
            seen, kept = 0, list[pa.RecordBatch]()
            for batch in parquet.iter_batches(BATCH_ROWS, columns=names):
                if not (plain and fits(batch, predictor.schema.columns, schema.MAX_NULL_RATE)):
                    valid = check(batch.to_pandas(), declared, schema.MAX_NULL_RATE)
                    batch = pa.RecordBatch.from_pandas(valid, preserve_index=False)
                _add(counted, batch, predictor)
                chosen = batch.take(pa.array(np.arange(-seen % every, batch.num_rows, every)))
                # A batch that went through validate's own check may have other types.
                if kept and not kept[0].schema.equals(chosen.schema):
                    _predict(counted, kept, predictor)
                kept.append(chosen)
                seen += batch.num_rows
            _predict(counted, kept, predictor)
    except (OSError, pa.ArrowInvalid) as error:
        raise DataError(f"{source} cannot be read as Parquet: {error}") from error
    return counted


def is_plain(declared: Any) -> bool:
    """Say whether schema.json holds all that a pandera schema asks for."""
    if declared.checks or declared.unique or declared.parsers:
        return False
    for column in declared.columns.values():
        if column.unique or column.regex or column.parsers:
            return False
        for rule in column.checks:
            given = rule.statistics or {}
            whole = (
                rule.name == "in_range" and given.get("include_min", True) and given.get("include_max", True)
            )
            if not whole and rule.name not in PLAIN:
                return False
    return True


def fits(batch: pa.RecordBatch, schema: list[Column], most_missing: float) -> bool:
    """Say whether a batch keeps to the schema: types, ranges, allowed values, missing ones."""
    for column in schema:
        if column.name not in batch.schema.names:
            return False
        values = batch[column.name]
        if not TYPES[column.kind](values.type):
            return False
        numbers = _floats(values) if column.kind in ("number", "integer") else None
        missing, low, high = _span(numbers) if numbers is not None else (values.null_count, np.inf, -np.inf)
        if missing > (most_missing * len(values) if column.nullable else 0):
            return False
        if column.allowed is not None:
            if not pc.all(pc.is_in(values, pa.array([*column.allowed, None], values.type))).as_py():
                return False
        elif numbers is not None:
            if column.minimum is not None and low < column.minimum:
                return False
            if column.maximum is not None and high > column.maximum:
                return False
    return True


def _span(numbers: np.ndarray) -> tuple[int, float, float]:
    """Return how many are missing, and the ends of the others (inf, -inf if there are none)."""
    if len(numbers) and not np.isnan(low := numbers.min()):  # NaN if any is: a second look only then
        return 0, low, numbers.max()
    missing = np.isnan(numbers)
    return (
        int(missing.sum()),
        numbers.min(initial=np.inf, where=~missing),
        numbers.max(initial=-np.inf, where=~missing),
    )


def _add(counted: Profile, batch: pa.RecordBatch, predictor: Predictor) -> None:
    for column in predictor.schema.columns:
        if column.kind == "category":
            found = pc.value_counts(batch[column.name])
            pairs = zip(found.field("values").to_pylist(), found.field("counts").to_pylist(), strict=True)
            counted.add_names(column.name, pairs)
        elif column.kind != "datetime":
            values = batch[column.name]
            values = values.cast(pa.int8()) if column.kind == "boolean" else values
            bins.add(counted.features[column.name], _floats(values), None)
    counted.rows += batch.num_rows


def _predict(counted: Profile, kept: list[pa.RecordBatch], predictor: Predictor) -> None:
    """Count the predictions of rows of many batches, all at once: making a frame has its price."""
    if kept:
        arrays = columns.from_frame(pa.Table.from_batches(kept).to_pandas(), predictor.schema.columns)
        counted.add_predictions(predictor.predict_arrays(arrays))
        kept.clear()


def _floats(values: pa.Array) -> np.ndarray:
    return values.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False)
