"""The columns of schema.py as data: read by training, the server and the drift check alike."""

import json
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict

MISSING = "missing"  # what a missing category becomes, in training and in the server
Arrays = dict[str, np.ndarray]
Kind = Literal["number", "integer", "boolean", "category", "datetime"]


class Column(BaseModel):
    """One column: its kind, and what schema.py allows in it."""

    model_config = ConfigDict(frozen=True)
    name: str
    kind: Kind
    nullable: bool = False
    minimum: float | None = None
    maximum: float | None = None
    allowed: list[Any] | None = None
    description: str = ""

    @property
    def rule(self) -> str:
        """Say what is allowed, for an error message or a table."""
        if self.allowed is not None:
            text = "one of " + ", ".join(map(str, self.allowed))
        else:
            text = {"datetime": "ISO 8601 time", "category": "text"}.get(self.kind, self.kind)
            low, high = self.minimum, self.maximum
            if low is not None and high is not None:
                text += f" from {low:g} to {high:g}"
            elif low is not None or high is not None:
                text += f" from {low:g}" if high is None else f" up to {high:g}"
        return text + (", or missing" if self.nullable else "")


class Schema(BaseModel):
    """What a model takes and gives: the candidate's schema.json. classes is empty for regression."""

    model_config = ConfigDict(frozen=True)
    task: Literal["regression", "classification"]
    target: Column
    time: str | None
    columns: list[Column]
    inputs: list[str] = []
    classes: list[Any] = []

    @classmethod
    def read(cls, folder: Path) -> "Schema":
        return cls.model_validate_json((folder / "schema.json").read_text(encoding="utf-8"))


def kind_of(dtype: str) -> Kind:
    """Return the kind of a pandas type's name, such as float64, Int64, bool or string[pyarrow]."""
    name = dtype.lower()
    for prefix, kind in (("float", "number"), ("int", "integer"), ("uint", "integer")):
        if name.startswith(prefix):
            return kind  # type: ignore[return-value]
    if name.startswith("bool"):
        return "boolean"
    return "datetime" if name.startswith("datetime") else "category"


def describe(module: Any) -> Schema:
    """Turn your schema.py into a Schema, reading ranges and allowed values from its pandera checks."""
    columns = {name: _column(name, item) for name, item in module.SCHEMA.columns.items()}
    target = columns.pop(module.TARGET)
    return Schema(task=module.TASK, target=target, time=module.TIME, columns=list(columns.values()))


def _column(name: str, item: Any) -> Column:
    facts: dict[str, Any] = {}
    for check in item.checks:
        given = check.statistics or {}
        if "allowed_values" in given:
            facts["allowed"] = list(given["allowed_values"])
        for key in ("min_value", "max_value"):
            if key in given and isinstance(given[key], int | float):
                facts[key.replace("_value", "imum")] = given[key]
    return Column(
        name=name,
        kind=kind_of(str(item.dtype)),
        nullable=bool(item.nullable),
        description=item.description or "",
        **facts,
    )


def from_frame(frame: Any, columns: Iterable[Column]) -> Arrays:
    """Turn a pandas frame into arrays: float64 with NaN, strings with "missing", datetime64[us]."""
    return {column.name: _array(frame[column.name], column.kind) for column in columns}


def _array(series: Any, kind: Kind) -> np.ndarray:
    if kind == "category":
        return series.astype(object).where(series.notna(), MISSING).to_numpy(dtype=object)
    if kind == "datetime":
        return series.to_numpy(dtype="datetime64[us]")
    return series.to_numpy(dtype=np.float64, na_value=np.nan)


def from_rows(rows: list[Mapping[str, Any]], columns: Iterable[Column]) -> Arrays:
    """Turn checked request rows into the same arrays as from_frame."""
    return {
        column.name: _from_values([row.get(column.name) for row in rows], column.kind) for column in columns
    }


def _from_values(values: list[Any], kind: Kind) -> np.ndarray:
    if kind == "category":
        return np.array([MISSING if value is None else value for value in values], dtype=object)
    if kind == "datetime":
        return np.array([_naive(value) for value in values], dtype="datetime64[us]")
    return np.array([np.nan if value is None else value for value in values], dtype=np.float64)


def _naive(value: datetime | str | None) -> datetime | None:
    """Drop the zone after turning to UTC: NumPy times have none, and schema.py declares none."""
    moment = datetime.fromisoformat(value) if isinstance(value, str) else value
    return moment.astimezone(UTC).replace(tzinfo=None) if moment and moment.tzinfo else moment


def to_float32(values: np.ndarray) -> np.ndarray:
    """Round to float32 less its last three bits (1e-6 of a value), in training and in the server alike.

    A tree's split lies halfway between two values. Where they are neighbours in float32 there is nothing
    between them, and ONNX may put a row on the other side; on this coarser grid there always is.
    """
    bits = np.ascontiguousarray(values, dtype=np.float32).view(np.uint32)
    return ((bits + np.uint32(4)) & np.uint32(0xFFFFFFF8)).view(np.float32)


def to_json(value: Any) -> str:
    """Write JSON the one way in which digests are taken of it: sorted, readable, no NaN."""
    return json.dumps(value, indent=2, sort_keys=True, allow_nan=False, default=str) + "\n"
