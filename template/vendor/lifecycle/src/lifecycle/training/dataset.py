"""The rows to train on: loaded, split by time, and turned into what an estimator takes."""

from collections.abc import Callable
from contextlib import chdir
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pandas as pd

from ..data.arrays import Arrays, from_frame, to_float32
from ..data.schema import Schema
from ..errors import DataError
from ..settings import Split

Build = Callable[[Arrays], Arrays]  # the function of features.py


def load(module: ModuleType, root: Path) -> pd.DataFrame:
    """Call load() of your data.py at the project's root. Raises DataError when it fails or finds no rows."""
    try:
        with chdir(root):
            frame = module.load()
    except (OSError, ValueError, KeyError) as error:
        raise DataError(f"{module.__file__}: load() failed: {error}", "check load() in data.py") from error
    if not isinstance(frame, pd.DataFrame) or frame.empty:
        raise DataError(f"{module.__file__}: load() returned no rows", "check load() in data.py")
    return frame


def read(path: Path) -> pd.DataFrame:
    """Read the rows that an earlier step has written. Raises DataError where it has not run."""
    if not path.is_file():
        raise DataError(f"{path} is not here", "run the steps before this one: make retrain")
    return pd.read_parquet(path)


def split(frame: pd.DataFrame, time: str | None, how: Split) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Split off the newest share of rows as the hold-out; a random share where there is no time column.

    Returns the rows to train on and the hold-out. Raises DataError when there are too few rows.
    """
    frame = frame.sort_values(time, kind="stable") if time else frame.sample(frac=1, random_state=how.seed)
    held = max(1, round(len(frame) * how.holdout))
    if len(frame) - held < 2:
        raise DataError(f"{len(frame)} rows are too few to hold {how.holdout:.0%} out")
    return frame.iloc[:-held], frame.iloc[-held:]


def to_inputs(columns: Arrays, build: Build) -> pd.DataFrame:
    """Run features.py. Numbers become float32, as ONNX computes, so that training sees the same."""
    built = build(columns)
    return pd.DataFrame({k: v if v.dtype.kind in "OUS" else to_float32(v) for k, v in built.items()})


@dataclass(frozen=True)
class TrainingSet:
    """Rows as an estimator takes them.

    rows: as `split` returns them. columns: the same as arrays. inputs: a frame of the columns named numbers
    (float32) and categories (text). target: [rows] of floats, or of class numbers, which every library takes.
    schema: that of schema.py, with the model's inputs and classes.
    """

    rows: pd.DataFrame
    columns: Arrays
    inputs: pd.DataFrame
    numbers: list[str]
    categories: list[str]
    target: np.ndarray
    schema: Schema

    @classmethod
    def make(cls, rows: pd.DataFrame, schema: Schema, build: Build) -> "TrainingSet":
        """Turn rows into a training set. Raises DataError when the target has only one class in them."""
        columns, target = from_frame(rows, schema.columns), rows[schema.target.name]
        inputs = to_inputs(columns, build)
        numbers = inputs.select_dtypes("float32").columns.tolist()
        categories = inputs.columns.drop(numbers).tolist()
        known = schema.model_copy(update={"inputs": numbers + categories})
        if schema.task == "regression":
            return cls(rows, columns, inputs, numbers, categories, target.to_numpy(dtype=np.float64), known)
        classes, places = np.unique(target.to_numpy(dtype=object), return_inverse=True)
        if len(classes) < 2:
            raise DataError(f"the training rows have only one class of {target.name}: {classes[0]}")
        known = known.model_copy(update={"classes": classes.tolist()})
        return cls(rows, columns, inputs, numbers, categories, places, known)

    @property
    def labels(self) -> np.ndarray:
        """The target as a profile counts it: [rows] of floats, or of class names as text."""
        names = np.array([str(label) for label in self.schema.classes], dtype=object)
        return names[self.target] if len(names) else self.target

    @property
    def naive(self) -> Any:
        """What a naive model predicts for every row: the median, or the share of each class."""
        if self.schema.classes:
            return (np.bincount(self.target) / len(self.target)).tolist()
        return float(np.median(self.target))
