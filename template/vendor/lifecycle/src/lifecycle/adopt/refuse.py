"""The faults for which a file is refused: nothing can be learned, or the model would only seem to be good."""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pandas as pd
from pandas.api.types import is_numeric_dtype
from sklearn.metrics import roc_auc_score

from ..data.schema import Kind

NUMERIC = ("number", "integer")
MIN_ROWS, MIN_CLASS, MAX_CLASSES = 50, 5, 50
UNIQUE = 0.95  # share of rows with a value of their own, from which a column is an id
DENSE = 0.05  # share of the whole numbers in its range that an id takes: it is counted up, not measured
MAX_CATEGORIES = 200
FEW = 20  # so many distinct values are accepted, however rare each is
COPY = 0.999  # correlation with a numeric target, from which a column is a copy of it
SEPARATES = 0.9999  # area under the ROC curve of one column alone, from which it is a copy of the classes
SAMPLE = 100_000  # rows that suffice to recognise a copy


@dataclass(frozen=True)
class Fault:
    """What is wrong, and the option of the command that solves it; () if the file must be fixed."""

    what: str
    option: tuple[str, ...] = ()


def drop(name: str, what: str, keep: str = "") -> Fault:
    """Return a fault that --drop solves. keep: the condition under which --keep would."""
    return Fault(f"{name}: {what}{f' (--keep it {keep})' if keep else ''}", ("--drop", name))


def column_fault(values: pd.Series, kind: Kind) -> Fault | None:
    """Return the fault of an input that a model would memorise: an id, free text; or of infinite values."""
    name, known = str(values.name), values.dropna()
    different, rows = known.nunique(), len(known)
    if kind in NUMERIC:
        if np.isinf(known.to_numpy(dtype=float)).any():
            return drop(name, "holds infinite values")
        alone = different == rows or different >= max(UNIQUE * rows, DENSE * np.ptp(known))
        if different > FEW and alone and bool((known % 1 == 0).all()):
            found = f"{different:,} different whole numbers in {rows:,} rows: an id"
            return drop(name, found, "if it is not")
    elif kind == "category" and (different > MAX_CATEGORIES or (different > FEW and rows < 5 * different)):
        meaning = "an id or free text" if different >= UNIQUE * rows else "too many categories"
        return drop(name, f"{different:,} different texts in {rows:,} rows: {meaning}", "if it is not")
    return None


def target_faults(target: pd.Series, kind: Kind, task: str) -> list[Fault]:
    """Return the faults of a target from which nothing can be learned, or which does not fit --task."""
    name, counts, numeric = str(target.name), target.value_counts(), kind in NUMERIC
    if kind == "datetime":
        return [Fault(f"{name}: a time cannot be the target")]
    faults = []
    if missing := int(target.isna().sum()):
        faults.append(Fault(f"{name}: {missing:,} rows have no label", ("--drop-unlabelled",)))
    if len(counts) < 2:
        return [*faults, Fault(f"{name}: every row has the same value, so nothing can be learned")]
    if task == "regression":
        if not numeric:
            faults.append(Fault(f"{name}: regression needs numbers", ("--task", "classification")))
        elif np.isinf(target.dropna().to_numpy(dtype=float)).any():
            faults.append(Fault(f"{name}: holds infinite values"))
    elif len(counts) > MAX_CLASSES:
        option = ("--task", "regression") if numeric else ()
        faults.append(Fault(f"{name}: {len(counts):,} classes are too many", option))
    elif kind == "number" and bool((target.dropna() % 1 != 0).any()):
        faults.append(Fault(f"{name}: fractions are no classes", ("--task", "regression")))
    elif len(rare := counts[counts < MIN_CLASS]):
        shown = ", ".join(f"{label} ({count})" for label, count in rare.head(5).items())
        faults.append(Fault(f"{name}: classes with fewer than {MIN_CLASS} rows: {shown}"))
    return faults


def copies_target(values: pd.Series, kind: Kind, target: pd.Series, task: str) -> Fault | None:
    """Return the fault of a column that gives the target away (leakage): requests will not have it."""
    found, missing = "", values.isna()
    if task == "regression":
        if is_numeric_dtype(values) and is_numeric_dtype(target):
            both = _pairs(values.astype(float), target.astype(float))
            if len(both) >= MIN_ROWS and both["x"].nunique() > 2:
                most = max(abs(both["x"].corr(both["y"], method)) for method in ("pearson", "spearman"))
                found = f"correlation {most:.4f}" if most > COPY else ""
    elif not 1 < target.nunique() <= MAX_CLASSES:
        return None
    elif MIN_CLASS <= missing.sum() <= len(values) - MIN_CLASS and _determines(missing, target):
        found = "missing exactly for some classes"
    elif kind in ("category", "boolean") or values.nunique() <= MAX_CLASSES:
        few = values.nunique() * MIN_CLASS <= values.notna().sum() and values.nunique() > 1
        found = "each of its values has one class" if few and _determines(values, target) else ""
    elif kind in NUMERIC and _separates(values, target):
        found = "it alone separates the classes"
    if not found:
        return None
    return drop(str(values.name), f"{found}: a copy of {target.name}?", "if it is known at prediction time")


def _determines(values: pd.Series, target: pd.Series) -> bool:
    pairs = pd.DataFrame({"x": values, "y": target}).dropna()
    if len(pairs) < MIN_ROWS or pairs["y"].nunique() < target.nunique():
        return False
    return bool((pairs.groupby("x", observed=True)["y"].nunique() == 1).all())


def _separates(values: pd.Series, target: pd.Series) -> bool:
    """Return whether neighbouring classes, in the order of their medians, hardly overlap."""
    pairs = _pairs(values.astype(float), target)
    order = pairs.groupby("y", observed=True)["x"].median().sort_values().index.tolist()
    if len(pairs) < MIN_ROWS or len(order) < target.nunique():
        return False
    for low, high in pairwise(order):
        two = pairs[pairs["y"].isin([low, high])]
        if roc_auc_score(two["y"] == high, two["x"]) < SEPARATES:
            return False
    return True


def _pairs(values: pd.Series, target: pd.Series) -> pd.DataFrame:
    """Return a sample of the rows in which both are known."""
    both = pd.DataFrame({"x": values, "y": target}).dropna()
    return both.sample(min(len(both), SAMPLE), random_state=0)
