"""The check of whole tables against schema.py: frames by pandera, Arrow batches column by column."""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import console
from ..errors import DataError
from .arrays import MISSING, Arrays
from .schema import Column, Kind, column_of

if TYPE_CHECKING:  # pandera comes with the extra train, pyarrow with the extra batch
    import pandas as pd
    import pyarrow as pa

FAULTS_SHOWN = 12
Fault = tuple[str, str, int, Any, Any]  # column, what is wrong, rows, an example, its row
PLAIN = {"isin", "greater_than_or_equal_to", "less_than_or_equal_to", "in_range"}
ENDS = ("include_min", "include_max")  # of in_range: Column holds closed ranges only
ARROW_TYPES: dict[Kind, tuple[str, ...]] = {  # predicates of pyarrow.types
    "number": ("is_floating", "is_integer"),
    "integer": ("is_floating", "is_integer"),
    "boolean": ("is_boolean",),
    "category": ("is_string", "is_large_string"),
    "datetime": ("is_timestamp", "is_date"),
}


def check(frame: "pd.DataFrame", module: Any) -> "pd.DataFrame":
    """Return the rows with the types of schema.py. module: it, or anything with SCHEMA and MAX_NULL_RATE.

    Raises DataError with a table: which column, what is wrong, in how many rows, and an example.
    """
    import pandera.pandas as pandera

    try:
        valid, faults = module.SCHEMA.validate(frame, lazy=True), []
    except pandera.errors.SchemaErrors as error:
        valid, faults = frame, _grouped(error.failure_cases)
    columns = [column_of(name, item) for name, item in module.SCHEMA.columns.items() if name in frame]
    for column in columns:
        missing = frame[column.name].isna()
        if column.nullable and missing.mean() > module.MAX_NULL_RATE:
            faults.append((column.name, f"{missing.mean():.0%} missing", int(missing.sum()), "", ""))
    if not faults:  # pandera lets numbers through that no request can hold
        for name in [column.name for column in columns if column.kind == "number"]:
            rows = np.flatnonzero(np.isinf(valid[name].to_numpy(np.float64, na_value=np.nan)))
            if len(rows):
                faults.append((name, "not finite", len(rows), valid[name].iloc[rows[0]], int(rows[0])))
    if not faults:
        return valid
    more = f"\n  … and {len(faults) - FAULTS_SHOWN} more" if len(faults) > FAULTS_SHOWN else ""
    table = console.table(("column", "what", "rows", "for example", "in row"), faults[:FAULTS_SHOWN])
    raise DataError(
        f"the data breaks schema.py\n\n{table}{more}\n\nNothing after validate was run.",
        "fix the data (or data.py), or widen schema.py if the data is right; then: make retrain",
    )


def _grouped(cases: "pd.DataFrame") -> list[Fault]:
    """Group pandera's failure cases by column and check."""
    faults = []
    for (column, rule), group in cases.groupby(["column", "check"], dropna=False, sort=False):
        first = group.iloc[0]
        if rule == "column_in_dataframe":
            column, rule = first["failure_case"], "the column is not in the data"
        elif rule == "not_nullable":
            rule = "a value is missing"
        row = "" if first["index"] is None or np.isnan(first["index"]) else int(first["index"])
        faults.append((column, rule, len(group), first["failure_case"], row))
    return faults


def is_plain(declared: Any) -> bool:
    """Return whether Column holds all that a pandera schema asks for."""
    columns = list(declared.columns.values())
    if declared.checks or any(part.unique or part.parsers for part in (declared, *columns)):
        return False
    rules = [rule for column in columns for rule in column.checks]
    ends = [(rule.statistics or {}).get(end, True) for rule in rules for end in ENDS]
    return all(ends) and all(rule.name in PLAIN for rule in rules) and not any(c.regex for c in columns)


def from_arrow(batch: "pa.RecordBatch", columns: Iterable[Column]) -> tuple[Arrays, dict[str, np.ndarray]]:
    """Turn an Arrow batch into arrays as the model takes them, and into [rows] of bool: which are allowed.

    Raises DataError where a whole column is missing or of another type.
    """
    arrays, allowed = {}, {}
    for column in columns:
        if column.name not in batch.schema.names:
            raise DataError(f"there is no column {column.name}")
        arrays[column.name], allowed[column.name] = _column(batch.column(column.name), column)
    return arrays, allowed


def _column(given: Any, column: Column) -> tuple[np.ndarray, np.ndarray]:
    import pyarrow as pa

    if isinstance(given, pa.DictionaryArray):
        given = given.dictionary_decode()
    fitting = any(getattr(pa.types, name)(given.type) for name in ARROW_TYPES[column.kind])
    if not fitting and given.type != pa.null():
        raise DataError(f"the column {column.name} is {given.type}, not {column.rule}")
    missing = given.is_null(nan_is_null=True).to_numpy(zero_copy_only=False)
    if column.kind == "category":  # each text is made and checked once, however often it is there
        encoded = given.cast(pa.string()).fill_null(MISSING).dictionary_encode()
        texts, places = encoded.dictionary.to_numpy(zero_copy_only=False), encoded.indices.to_numpy()
        within = column.accepts(texts, missing=np.zeros(len(texts), dtype=bool))[places]
        return texts[places], np.where(missing, column.nullable, within)
    target = pa.timestamp("us") if column.kind == "datetime" else pa.float64()
    values = given.cast(target, safe=False).to_numpy(zero_copy_only=False)
    return values, column.accepts(values, missing)
