"""Decides on ranges, categories, the task, the split and the estimator, from what load() returns. Pure."""

import math
from typing import Literal

import numpy as np
import pandas as pd

from ..data.schema import Column, Kind

Task = Literal["regression", "classification"]
MARGIN = 0.15  # share of the observed range that is added on both sides
CATEGORIES = 50  # at most so many values are listed in schema.py
FEW = 10  # distinct whole numbers are classes; more are amounts
EMPTY = 0.9  # share of missing values above which a column is dropped
SMALL = 1000  # rows below which a linear model generalises better than trees
# The model section of params.yaml for each kind of estimator.
PARAMS = {"Hist": {"max_iter": 300, "learning_rate": 0.06}, "Ridge": {"alpha": 1.0}, "Logistic": {"C": 1.0}}


def column(values: pd.Series, kind: Kind, classes: bool) -> Column:
    """Return a column with its range and a margin, or its values. classes: it is the target's classes."""
    known = values.dropna()
    allowed: list[str] | list[int] | None = None
    minimum = maximum = None
    if kind == "category":
        found = sorted(known.astype(str).unique().tolist())
        allowed = found if len(found) <= CATEGORIES else None
    elif kind in ("number", "integer"):
        low, high = float(known.min()), float(known.max())
        if classes or (kind == "integer" and (low, high) == (0, 1)):
            kind, allowed = "integer", sorted({int(value) for value in known})
        else:
            minimum, maximum = bounds(low, high, kind == "integer")
    name, nullable = str(values.name), len(known) < len(values)
    return Column(name=name, kind=kind, nullable=nullable, minimum=minimum, maximum=maximum, allowed=allowed)


def bounds(low: float, high: float, whole: bool) -> tuple[float, float]:
    """Return a range widened by the margin, rounded to two digits of its width.

    A range without negative values gets none, and one within 0 and 1 stays within them (unless `whole`).
    """
    share = not whole and low >= 0 and high <= 1
    width = high - low or abs(high) or 1
    step = 10.0 ** (math.floor(math.log10(width)) - 1)
    step = max(step, 1.0) if whole else step
    wide_low = math.floor(round((low - MARGIN * width) / step, 6)) * step
    wide_high = math.ceil(round((high + MARGIN * width) / step, 6)) * step
    if low >= 0:
        wide_low = max(wide_low, 0)
    if high <= 0 or share:
        wide_high = min(wide_high, float(share))
    return min(float(f"{wide_low:.12g}"), low), max(float(f"{wide_high:.12g}"), high)


def task_of(target: pd.Series, kind: Kind) -> tuple[Task, str]:
    """Return the task that fits the target, and why."""
    values = target.nunique()
    if kind in ("category", "boolean", "datetime"):
        return "classification", f"{target.name} has {values} classes"
    if values <= FEW and bool((target.dropna() % 1 == 0).all()):
        return "classification", f"{target.name} has only {values} whole numbers"
    return "regression", f"{target.name} is a number with {values:,} different values"


def time_of(frame: pd.DataFrame, kinds: dict[str, Kind]) -> str | None:
    """Return the one time column by which the rows are already sorted, or None."""
    times = [name for name, kind in kinds.items() if kind == "datetime" and frame[name].notna().all()]
    ordered = [n for n in times if frame[n].is_monotonic_increasing or frame[n].is_monotonic_decreasing]
    return ordered[0] if len(ordered) == 1 and frame[ordered[0]].nunique() > 1 else None


def has_clock(times: pd.Series) -> bool:
    """Return whether the times of day vary: a plain date has no hour to use as a feature."""
    return (times - times.dt.normalize()).nunique() > 1  # missing ones do not count


def useless(frame: pd.DataFrame, names: set[str]) -> dict[str, str]:
    """Return those of the columns from which nothing can be learned, and why."""
    found = {}
    for name in [str(name) for name in frame if name in names]:
        if frame[name].nunique(dropna=False) < 2:
            found[name] = "the same in every row"
        elif (missing := frame[name].isna().mean()) > EMPTY:
            found[name] = f"{missing:.0%} missing"
    return found


def null_rate(frame: pd.DataFrame) -> float:
    """Return MAX_NULL_RATE: the worst column's share of missing values and 0.1 more, in steps of 0.05."""
    most = float(frame.isna().mean().max()) if len(frame.columns) else 0.0
    return 0.0 if most == 0 else min(0.95, float(np.ceil((most + 0.1) * 20) / 20))


def estimator_for(task: str, rows: int) -> tuple[str, str]:
    """Return the name of the scikit-learn estimator to begin with, and why."""
    if rows < SMALL:
        name = "Ridge" if task == "regression" else "LogisticRegression"
        return name, f"{rows:,} rows: below {SMALL:,} a linear model generalises better than trees do."
    name = "HistGradientBoosting" + ("Regressor" if task == "regression" else "Classifier")
    return name, f"{rows:,} rows: from {SMALL:,} on trees find what a linear model cannot."
