"""Decide on ranges, categories, the task, the split and the model from what load() returns. Pure."""

import math
from typing import Literal

import numpy as np
import pandas as pd

from lifecycle.columns import Column, Kind

Task = Literal["regression", "classification"]
MARGIN = 0.15  # of the observed span, added on both sides
CATEGORIES = 50  # at most so many values are listed in schema.py
FEW = 10  # distinct whole numbers are classes, more are amounts
EMPTY = 0.9  # of a column missing: nothing to learn from


def column(values: pd.Series, kind: Kind, classes: bool) -> Column:
    """Describe a column: its range with a margin, or its values, and whether any is missing."""
    known, name = values.dropna(), str(values.name)
    nullable = len(known) < len(values)
    if kind == "category":
        found = sorted(known.astype(str).unique().tolist())
        return Column(
            name=name, kind=kind, nullable=nullable, allowed=found if len(found) <= CATEGORIES else None
        )
    if kind in ("boolean", "datetime"):
        return Column(name=name, kind=kind, nullable=nullable)
    low, high = float(known.min()), float(known.max())
    if classes or (kind == "integer" and (low, high) == (0, 1)):
        whole = sorted({int(value) for value in known})
        return Column(name=name, kind="integer", nullable=nullable, allowed=whole)
    low, high = bounds(low, high, whole=kind == "integer")
    return Column(name=name, kind=kind, nullable=nullable, minimum=low, maximum=high)


def bounds(low: float, high: float, whole: bool) -> tuple[float, float]:
    """Widen a range by the margin; what is never negative stays so, and a share stays within 0 and 1."""
    share = not whole and low >= 0 and high <= 1
    span = high - low or abs(high) or 1
    step = 10.0 ** (math.floor(math.log10(span)) - 1)  # two digits of the span are enough
    step = max(step, 1.0) if whole else step
    wide_low = math.floor(round((low - MARGIN * span) / step, 6)) * step
    wide_high = math.ceil(round((high + MARGIN * span) / step, 6)) * step
    if low >= 0:
        wide_low = max(wide_low, 0)
    if high <= 0 or share:
        wide_high = min(wide_high, float(share))
    return min(float(f"{wide_low:.12g}"), low), max(float(f"{wide_high:.12g}"), high)


def task_of(target: pd.Series, kind: Kind) -> tuple[Task, str]:
    """Return what the target asks for, and why."""
    values = target.nunique()
    if kind in ("category", "boolean"):
        return "classification", f"{target.name} has {values} classes"
    whole = kind == "integer" or bool((target.dropna() % 1 == 0).all())
    if whole and values <= FEW:
        return "classification", f"{target.name} has only {values} whole numbers"
    return "regression", f"{target.name} is a number with {values:,} different values"


def useless(frame: pd.DataFrame, names: set[str]) -> dict[str, str]:
    """Return the columns that tell nothing, and why."""
    found = {}
    for name in [str(name) for name in frame if name in names]:
        if frame[name].nunique(dropna=False) < 2:
            found[name] = "the same in every row"
        elif (missing := frame[name].isna().mean()) > EMPTY:
            found[name] = f"{missing:.0%} missing"
    return found


def null_rate(frame: pd.DataFrame) -> float:
    """Return the bar for missing values: what the worst column misses and a tenth more, in steps of 0.05."""
    most = float(frame.isna().mean().max()) if len(frame.columns) else 0.0
    return 0.0 if most == 0 else min(0.95, float(np.ceil((most + 0.1) * 20) / 20))
