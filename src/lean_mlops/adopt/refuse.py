"""What cannot be adopted, or would make a model that only seems good. Every fault is told, not the first."""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pandas as pd

from lifecycle.columns import Kind

MIN_ROWS, MIN_CLASS, MAX_CLASSES = 50, 5, 50
UNIQUE = 0.95  # of the rows have a value of their own: a name for the row, not a fact about it
DENSE = 0.05  # of the whole numbers between the least and the largest are taken: counted up, not measured
MAX_CATEGORIES = 200
FEW = 20  # so many different values are no burden, however rare each is
COPY = 0.999  # correlation with a numeric target
SEPARATES = 0.9999  # area under the ROC curve of one column alone
RANKED = 100_000  # rows are enough to see a copy


@dataclass(frozen=True)
class Fault:
    """What is wrong, and the option that would get on; none when the file must be mended."""

    what: str
    option: tuple[str, ...] = ()


def drop(name: str, what: str, keep: str = "") -> Fault:
    return Fault(f"{name}: {what}{f' (--keep it {keep})' if keep else ''}", ("--drop", name))


def column_fault(values: pd.Series, kind: Kind) -> Fault | None:
    """Refuse what a model would learn by heart."""
    name, known = str(values.name), values.dropna()
    different = known.nunique()
    if kind in ("number", "integer"):
        if np.isinf(known.to_numpy(dtype=float)).any():
            return drop(name, "holds infinite values")
        alone = different == len(known) or different >= max(UNIQUE * len(known), DENSE * np.ptp(known))
        if different > FEW and alone and bool((known % 1 == 0).all()):
            found = f"{different:,} different whole numbers in {len(known):,} rows: an id"
            return drop(name, found, "if it is not")
    if kind != "category":
        return None
    if different > MAX_CATEGORIES or (different > FEW and len(known) < 5 * different):
        kind_of_text = "an id or free text" if different >= UNIQUE * len(known) else "too many categories"
        return drop(
            name, f"{different:,} different texts in {len(known):,} rows: {kind_of_text}", "if it is not"
        )
    return None


def target_faults(target: pd.Series, kind: Kind, task: str) -> list[Fault]:
    """Refuse a target from which nothing can be learnt, or not what --task says."""
    name, counts = str(target.name), target.value_counts()
    if kind == "datetime":
        return [Fault(f"{name}: a time cannot be the target")]
    faults = []
    if missing := int(target.isna().sum()):
        faults.append(Fault(f"{name}: {missing:,} rows have no label", ("--drop-unlabelled",)))
    if len(counts) < 2:
        return [*faults, Fault(f"{name}: every row has the same value, nothing can be learnt")]
    if task == "regression":
        if kind not in ("number", "integer"):
            faults.append(Fault(f"{name}: regression needs numbers", ("--task", "classification")))
        elif np.isinf(target.dropna().to_numpy(dtype=float)).any():
            faults.append(Fault(f"{name}: holds infinite values"))
    elif len(counts) > MAX_CLASSES:
        way = ("--task", "regression") if kind in ("number", "integer") else ()
        faults.append(Fault(f"{name}: {len(counts):,} classes are too many", way))
    elif kind == "number" and bool((target.dropna() % 1 != 0).any()):
        faults.append(Fault(f"{name}: fractions are no classes", ("--task", "regression")))
    elif len(rare := counts[counts < MIN_CLASS]):
        shown = ", ".join(f"{label} ({count})" for label, count in rare.head(5).items())
        faults.append(Fault(f"{name}: classes with fewer than {MIN_CLASS} rows: {shown}"))
    return faults


def comparable(target: pd.Series, kind: Kind, task: str) -> bool:
    """Say whether columns can be compared with the target."""
    return kind in ("number", "integer") if task == "regression" else 1 < target.nunique() <= MAX_CLASSES


def copies_target(values: pd.Series, kind: Kind, target: pd.Series, task: str) -> Fault | None:
    """Refuse a column that tells the target: it would not be known when the model is asked."""
    found = _numeric_copy(values, target) if task == "regression" else _class_copy(values, kind, target)
    if not found:
        return None
    return drop(str(values.name), f"{found}: a copy of {target.name}?", "if it is known at prediction time")


def _numeric_copy(values: pd.Series, target: pd.Series) -> str:
    if not pd.api.types.is_numeric_dtype(values):
        return ""
    both = pd.DataFrame({"x": values.astype(float), "y": target.astype(float)}).dropna()
    both = both.sample(min(len(both), RANKED), random_state=0)
    if len(both) < MIN_ROWS or both["x"].nunique() < 3:
        return ""
    found = max(abs(both["x"].corr(both["y"], method)) for method in ("pearson", "spearman"))
    return f"correlation {found:.4f}" if found > COPY else ""


def _class_copy(values: pd.Series, kind: Kind, target: pd.Series) -> str:
    missing = values.isna()
    if MIN_CLASS <= missing.sum() <= len(values) - MIN_CLASS and _tells(missing, target):
        return "missing exactly for some classes"
    if kind in ("category", "boolean") or values.nunique() <= MAX_CLASSES:
        few = values.nunique() * MIN_CLASS <= values.notna().sum() and values.nunique() > 1
        return "each of its values has one class" if few and _tells(values, target) else ""
    return (
        "it alone divides the classes" if kind in ("number", "integer") and _divides(values, target) else ""
    )


def _tells(values: pd.Series, target: pd.Series) -> bool:
    pairs = pd.DataFrame({"x": values, "y": target}).dropna()
    if len(pairs) < MIN_ROWS or pairs["y"].nunique() < target.nunique():
        return False
    return bool((pairs.groupby("x", observed=True)["y"].nunique() == 1).all())


def _divides(values: pd.Series, target: pd.Series) -> bool:
    """Say whether neighbouring classes, in the order of their medians, hardly overlap."""
    pairs = pd.DataFrame({"x": values.astype(float), "y": target}).dropna()
    pairs = pairs.sample(min(len(pairs), RANKED), random_state=0)
    order = pairs.groupby("y", observed=True)["x"].median().sort_values().index.tolist()
    if len(pairs) < MIN_ROWS or len(order) < target.nunique():
        return False
    return all(_area(pairs, low, high) >= SEPARATES for low, high in pairwise(order))


def _area(pairs: pd.DataFrame, low: object, high: object) -> float:
    two = pairs[pairs["y"].isin([low, high])]
    ranks, upper = two["x"].rank(), two["y"] == high
    count, others = int(upper.sum()), int((~upper).sum())
    return (float(ranks[upper].sum()) - count * (count + 1) / 2) / (count * others)
