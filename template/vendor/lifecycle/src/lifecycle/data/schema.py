"""The columns of schema.py as data: the one rule for a column's values, wherever values come from."""

from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import BaseModel

MISSING = "missing"  # what a missing category becomes, in training and in the server
Kind = Literal["number", "integer", "boolean", "category", "datetime"]


class Column(BaseModel, frozen=True):
    """One column: its kind, and which values schema.py allows in it."""

    name: str
    kind: Kind
    nullable: bool = False
    minimum: float | None = None
    maximum: float | None = None
    allowed: list[Any] | None = None
    description: str = ""

    @property
    def rule(self) -> str:
        """What is allowed, in words: for an error message or a table."""
        if self.allowed is not None:
            text = "one of " + ", ".join(map(str, self.allowed))
        else:
            text = {"datetime": "ISO 8601 time", "category": "text"}.get(self.kind, self.kind)
            text += "" if self.minimum is None else f" from {self.minimum:g}"
            to = "up to" if self.minimum is None else "to"
            text += "" if self.maximum is None else f" {to} {self.maximum:g}"
        return text + (", or missing" if self.nullable else "")

    def accepts(self, values: np.ndarray, missing: np.ndarray | None = None) -> np.ndarray:
        """Return which values the column allows, a missing one where it is nullable: [rows] of bool.

        values: [rows], as `data.arrays` gives them. missing: [rows] of bool, else NaN, NaT and "missing" are.
        """
        if missing is None:
            missing = values == MISSING if values.dtype.kind in "OUS" else np.isnan(values)
        return np.where(missing, self.nullable, self._within(values))

    def _within(self, values: np.ndarray) -> np.ndarray:
        if self.allowed is not None:
            return np.isin(values, np.array(self.allowed, dtype=values.dtype))
        if values.dtype.kind != "f":
            return np.ones(len(values), dtype=bool)
        if self.kind == "boolean":
            return (values == 0) | (values == 1)
        low = -np.inf if self.minimum is None else self.minimum
        high = np.inf if self.maximum is None else self.maximum
        within = np.isfinite(values) & (values >= low) & (values <= high)
        return within & (np.floor(values) == values) if self.kind == "integer" else within


class Schema(BaseModel, frozen=True):
    """What a model takes and gives: the candidate's schema.json.

    inputs: the names of what features.py builds, in the order of the model's inputs. classes: empty for
    regression.
    """

    task: Literal["regression", "classification"]
    target: Column
    time: str | None
    columns: list[Column]
    inputs: list[str] = []
    classes: list[Any] = []

    @classmethod
    def read(cls, folder: Path) -> "Schema":
        """Read the schema.json of a candidate's folder."""
        return cls.model_validate_json((folder / "schema.json").read_text(encoding="utf-8"))


def kind_of(dtype: str) -> Kind:
    """Return the kind of a pandas type's name, such as float64, Int64, bool or string[pyarrow]."""
    name = dtype.lower().removeprefix("u")  # uint8
    kinds: dict[str, Kind] = {"float": "number", "int": "integer", "bool": "boolean", "datetime": "datetime"}
    return next((kind for prefix, kind in kinds.items() if name.startswith(prefix)), "category")


def describe(module: Any) -> Schema:
    """Turn your schema.py into a Schema, reading ranges and allowed values from its pandera checks."""
    columns = {name: column_of(name, item) for name, item in module.SCHEMA.columns.items()}
    target = columns.pop(module.TARGET)
    return Schema(task=module.TASK, target=target, time=module.TIME, columns=list(columns.values()))


def column_of(name: str, item: Any) -> Column:
    """Turn a pandera column into a Column."""
    facts: dict[str, Any] = {"kind": kind_of(str(item.dtype)), "description": item.description or ""}
    for check in item.checks:
        given = check.statistics or {}
        if "allowed_values" in given:
            facts["allowed"] = list(given["allowed_values"])
        for key, fact in (("min_value", "minimum"), ("max_value", "maximum")):
            if isinstance(given.get(key), int | float):
                facts[fact] = given[key]
    return Column(name=name, nullable=bool(item.nullable), **facts)
