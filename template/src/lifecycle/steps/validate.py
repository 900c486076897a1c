"""validate: nothing goes on with data that breaks schema.py."""

import pandas as pd
import pandera.pandas as pa

from .. import errors, project
from ..errors import DataError
from ..project import RAW, VALID
from .ingest import write_parquet

ROWS_SHOWN = 12


def run() -> str:
    """Check artifacts/raw.parquet and write artifacts/valid.parquet; DataError with a table of faults."""
    if not RAW.is_file():
        raise DataError(f"{RAW} is not here", "run: uv run lifecycle ingest")
    schema = project.load("schema")
    frame = check(pd.read_parquet(RAW), schema.SCHEMA, schema.MAX_NULL_RATE)
    write_parquet(frame, VALID)
    return f"{len(frame):,} rows, {frame.shape[1]} columns, every one within schema.py"


def check(frame: pd.DataFrame, schema: pa.DataFrameSchema, max_null_rate: float) -> pd.DataFrame:
    """Return the frame with schema's types; raise DataError with what, which column, how many, where."""
    faults = []
    try:
        valid = schema.validate(frame, lazy=True)
    except pa.errors.SchemaErrors as error:
        valid, faults = frame, _faults(error.failure_cases)
    for name in [name for name, column in schema.columns.items() if column.nullable]:
        rate = frame[name].isna().mean() if name in frame else 0.0
        if rate > max_null_rate:
            faults.append((name, f"{rate:.0%} missing", int(frame[name].isna().sum()), "", ""))
    if faults:
        more = f"\n  … and {len(faults) - ROWS_SHOWN} more" if len(faults) > ROWS_SHOWN else ""
        table = errors.table(("column", "what", "rows", "for example", "in row"), faults[:ROWS_SHOWN])
        raise DataError(
            f"the data breaks schema.py\n\n{table}{more}\n\nNothing after validate was run.",
            "mend the data (or data.py), or widen schema.py if the data is right; then: make retrain",
        )
    return valid


def _faults(cases: pd.DataFrame) -> list[tuple]:
    """Group pandera's failure cases: column, check, how many, an example and its row."""
    faults = []
    for (column, rule), group in cases.groupby(["column", "check"], dropna=False, sort=False):
        first = group.iloc[0]
        if rule == "column_in_dataframe":
            column, rule = first["failure_case"], "the column is not in the data"
        elif rule == "not_nullable":
            rule = "a value is missing"
        row = "" if pd.isna(first["index"]) else int(first["index"])
        faults.append((column, rule, len(group), first["failure_case"], row))
    return faults
