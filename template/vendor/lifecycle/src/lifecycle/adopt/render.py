"""Renders the package's four files as text. Pure functions; ruff formats the text afterwards."""

import json
from typing import Any

from ..data.schema import Column
from .infer import Reading
from .read import Source

SEAL = "`lifecycle adopt` wrote this file ({}) and replaces it only while it is unchanged."
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
Each range is that of the data plus a margin: narrow or widen it by what you know.
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
MODEL = '''"""The model. This file is yours: any scikit-learn estimator that exports to ONNX will do.

{why}
Random forests, XGBoost and LightGBM do too (`uv sync --group boosting` for the last two). Do not scale
inputs before trees: ONNX computes in float32. `evaluate` refuses a model that differs there.
{seal}
"""

{imports}


def build(numbers: list[str], categories: list[str], params: dict) -> Pipeline:
    """Return an unfitted estimator over the inputs that features.py built.

    params is the `model` section of params.yaml.
    """
    columns = ColumnTransformer(
        [
            ("numbers", {numbers}, numbers),
            ("categories", OneHotEncoder(handle_unknown="ignore", sparse_output=False), categories),
        ]
    )
    estimator = {estimator}
    return Pipeline([("columns", columns), ("model", estimator)])
'''


def literal(value: Any) -> str:
    """Return a value as Python source, text in double quotes as ruff would write it."""
    if isinstance(value, list):
        return "[" + ", ".join(map(literal, value)) + "]"
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
        return str(int(value))
    return json.dumps(value, ensure_ascii=False) if isinstance(value, str) else repr(value)


def data(source: Source, at: str, readings: dict[str, Reading], dropped: list[str], labelled: str) -> str:
    """Return data.py. at: where the file will lie; labelled: the target if rows without it are skipped."""
    marks = {mark for reading in readings.values() for mark in reading.missing}
    missing = sorted(marks if source.parquet else marks | {""})
    constants = f"MISSING = {literal(missing)}  # texts that stand for a missing value\n" if missing else ""
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
    """Return schema.py."""
    lines = ""
    for column in columns:
        parts = [DTYPES.get(column.kind) or NULLABLE[column.kind][column.nullable]]
        if column.allowed is not None:
            parts.append(f"pa.Check.isin({literal(column.allowed)})")
        elif column.minimum is not None:
            parts.append(f"pa.Check.in_range({literal(column.minimum)}, {literal(column.maximum)})")
        parts += ["nullable=True"] if column.nullable else []
        lines += f"        {literal(column.name)}: pa.Column({', '.join(parts)}),\n"
    facts = {"task": task, "target": target, "time": time, "null_rate": null_rate}
    return SCHEMA.format(seal=BLANK, columns=lines, **{key: literal(value) for key, value in facts.items()})


def features(clocks: dict[str, bool], taken: list[str]) -> str:
    """Return features.py. clocks: each time column, and whether its times of day vary; taken: names."""
    text = FEATURES.format(seal=BLANK)
    if not clocks:
        return text + "    return dict(columns)\n"
    text += "    inputs = dict(columns)\n"
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


def model(estimator: str, why: str) -> str:
    """Return model.py: HistGradientBoosting… over raw inputs, or a linear model over scaled ones."""
    imports = {"compose": "ColumnTransformer", "pipeline": "Pipeline", "preprocessing": "OneHotEncoder"}
    if estimator.startswith("Hist"):
        imports["ensemble"] = estimator
        numbers, fixed = '"passthrough"', "random_state=0, "
    else:
        imports |= {"linear_model": estimator, "impute": "SimpleImputer"}
        imports |= {"pipeline": "Pipeline, make_pipeline", "preprocessing": "OneHotEncoder, StandardScaler"}
        numbers = 'make_pipeline(SimpleImputer(strategy="median"), StandardScaler())'
        fixed = "max_iter=1000, " if estimator == "LogisticRegression" else ""
    lines = "\n".join(f"from sklearn.{name} import {imports[name]}" for name in sorted(imports))
    call = f"{estimator}({fixed}**params)"
    return MODEL.format(seal=BLANK, why=why, imports=lines, numbers=numbers, estimator=call)
