"""The four files of your package as text. Pure; ruff formats them afterwards, where it is installed."""

import json
from typing import Any

from lifecycle.columns import Column

from .infer import Reading
from .read import Source

SEAL = "`lifecycle adopt` wrote it ({}) and writes it anew only while it is unchanged."
BLANK = SEAL.format("0" * 12)
DTYPES = {"number": "float", "datetime": '"datetime64[us]"', "category": "str"}
NULLABLE = {"integer": ("int", '"Int64"'), "boolean": ("bool", '"boolean"')}

DATA = '''"""Where the data comes from. This file is yours: change it freely.

{seal}
"""

import pandas as pd

SOURCE = {source}
{constants}

def load() -> pd.DataFrame:
    """Return the labelled rows to train on, with the columns that schema.py declares."""
    rows = {read}
{lines}    return rows{drop}
'''
SCHEMA = '''"""The columns, each once: type, range, allowed values, missing or not. This file is yours.

The check at ingest, the server's request model, the drift check and the model card all follow from it.
Ranges are those of the data and some more: narrow or widen them by what you know.
{seal}
"""

import pandera.pandas as pa

TASK = {task}
TARGET = {target}
TIME = {time}  # rows are split by it, the newest become the hold-out; None: split at random

SCHEMA = pa.DataFrameSchema(
    {{
{columns}    }},
    strict="filter",  # columns that are not declared are dropped
    coerce=True,
)
MAX_NULL_RATE = {null_rate}  # of any column that may be missing
'''
FEATURES = '''"""From the columns of schema.py to the inputs of the model. This file is yours.

The same code runs over a million rows in training and over one row in the server: plain NumPy on whole
columns, no pandas. Numbers and flags come as float64 with NaN for missing, categories as strings with
"missing", times as datetime64[us].
{seal}
"""

import numpy as np

Columns = dict[str, np.ndarray]


def build(columns: Columns) -> Columns:
    """Return the model's inputs, each an array as long as the columns given."""
'''
CLOCK = """    time = inputs.pop({name})
    day, unknown = time.astype("datetime64[D]"), np.isnat(time)
{hour_line}    inputs[{weekday}] = np.where(unknown, np.nan, (day.astype(int) + 3) % 7)  # Monday is 0
    inputs[{month}] = np.where(unknown, np.nan, day.astype("datetime64[M]").astype(int) % 12 + 1)
"""
HOUR = '    inputs[{hour}] = (time - day) / np.timedelta64(1, "h")\n'


def literal(value: Any) -> str:
    """Write a value as Python, text in double quotes as ruff would."""
    if isinstance(value, list):
        return "[" + ", ".join(map(literal, value)) + "]"
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
        return str(int(value))
    return json.dumps(value, ensure_ascii=False) if isinstance(value, str) else repr(value)


def data(source: Source, at: str, readings: dict[str, Reading], dropped: list[str], labelled: str) -> str:
    """Write data.py. at: where the file will lie; labelled: the target when rows without it are left out."""
    marks = {mark for reading in readings.values() for mark in reading.missing}
    missing = sorted(marks if source.parquet else marks | {""})
    constants = f"MISSING = {literal(missing)}  # what stands for a missing value in it\n" if missing else ""
    constants += f"DROPPED = {literal(dropped)}  # not for the model\n" if dropped else ""
    if source.parquet:
        read = "pd.read_parquet(SOURCE)"
        lines = "    rows = rows.mask(rows.isin(MISSING))\n" if missing else ""
    else:
        options = [f"{key}={literal(value)}" for key, value in source.options.items()]
        texts = [f"{literal(name)}: str" for name, reading in readings.items() if reading.as_text]
        options += [f"dtype={{{', '.join(texts)}}}"] if texts else []
        options += ["keep_default_na=False", "na_values=MISSING", "low_memory=False"]
        read, lines = f"pd.read_csv(SOURCE, {', '.join(options)})", ""
    for name, reading in readings.items():
        if reading.code:
            cell = f"rows[{literal(name)}]"
            lines += f"    {cell} = {reading.code.replace('{x}', cell)}\n"
    if labelled:
        lines += f"    rows = rows.dropna(subset=[{literal(labelled)}])\n"
    drop = '.drop(columns=DROPPED, errors="ignore")' if dropped else ""
    return DATA.format(seal=BLANK, source=literal(at), constants=constants, read=read, lines=lines, drop=drop)


def schema(task: str, target: str, time: str | None, columns: list[Column], null_rate: float) -> str:
    """Write schema.py."""
    return SCHEMA.format(
        seal=BLANK,
        task=literal(task),
        target=literal(target),
        time=literal(time),
        columns="".join(f"        {literal(column.name)}: {_column(column)},\n" for column in columns),
        null_rate=literal(null_rate),
    )


def _column(column: Column) -> str:
    parts = [DTYPES.get(column.kind) or NULLABLE[column.kind][column.nullable]]
    if column.allowed is not None:
        parts.append(f"pa.Check.isin({literal(column.allowed)})")
    elif column.minimum is not None:
        parts.append(f"pa.Check.in_range({literal(column.minimum)}, {literal(column.maximum)})")
    return f"pa.Column({', '.join(parts)}{', nullable=True' if column.nullable else ''})"


def features(clocks: dict[str, bool], taken: list[str]) -> str:
    """Write features.py. clocks: each time column, and whether its times of day vary."""
    if not clocks:
        return FEATURES.format(seal=BLANK) + "    return dict(columns)\n"
    text = FEATURES.format(seal=BLANK) + "    inputs = dict(columns)\n"
    for name, clock in clocks.items():
        names = {}
        for part in ("hour", "weekday", "month"):
            new = f"{name}_{part}"
            while new in taken:
                new += "_"
            names[part] = literal(new)
        hour = HOUR.format(**names) if clock else ""
        text += CLOCK.format(name=literal(name), hour_line=hour, **names)
    return text + "    return inputs\n"
