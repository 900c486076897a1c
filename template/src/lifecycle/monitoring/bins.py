"""One column's bins, chosen from training, and the counting into them: the inner loops of a profile."""

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable
from typing import Any

import numpy as np

from ..columns import MISSING

BINS = 64  # at 64 quantiles the KS distance is off by at most 1/64, a sixth of the bar it is held to
CATEGORIES = 64  # of one column that are counted apart; the rest are "(other)"
OTHER = "(other)"
MARGIN = 0.5  # of training's width beyond its ends before a value is outside: a shift is no broken unit
FEW = 16  # rows that a loop counts faster than NumPy does
CHUNK = 1 << 16  # values that are sorted at once: they fit the processor's cache

Feature = dict[str, Any]


def choose(values: np.ndarray) -> Feature:
    """Return the bins of a column, empty: quantiles of a number, the most frequent names of a category."""
    if values.dtype.kind == "O":
        names, counts = np.unique(values[values != MISSING].astype(str), return_counts=True)
        kept = sorted(names[np.argsort(-counts, kind="stable")][:CATEGORIES].tolist())
        return {"names": [*kept, OTHER], "counts": [0] * (len(kept) + 1), "missing": 0}
    known = np.sort(values[np.isfinite(values)])
    if not len(known):
        return {"edges": [0.0], "counts": [0, 0], "missing": 0}
    places = np.ceil(np.linspace(0, 1, BINS + 1)[1:-1] * len(known)).astype(int) - 1
    edges = np.unique(known[places]).tolist()
    low, high = float(known[0]), float(known[-1])
    beyond = MARGIN * (high - low)
    ends = [low - beyond, high + beyond]
    return {"edges": edges, "counts": [0] * (len(edges) + 1), "missing": 0, "range": ends, "outside": 0}


def blank(feature: Feature) -> Feature:
    """Return the same bins with nothing counted."""
    zero = {key: 0 for key in ("missing", "outside") if key in feature}
    return {**feature, "counts": [0] * len(feature["counts"]), **zero}


def places(feature: Feature) -> dict[str, int] | None:
    """Return the bin of each name; None for a number."""
    return {name: i for i, name in enumerate(feature["names"])} if "names" in feature else None


def add(feature: Feature, values: np.ndarray, index: dict[str, int] | None) -> None:
    """Count a column's values; index: what places() gives."""
    if index is not None:
        names = values.tolist()
        add_names(feature, [(names[0], 1)] if len(names) == 1 else Counter(names).items(), index)
    elif len(values) <= FEW:
        _add_few(feature, values.tolist())
    else:
        for start in range(0, len(values), CHUNK):
            _add_many(feature, values[start : start + CHUNK])


def add_names(feature: Feature, pairs: Iterable[tuple[Any, int]], index: dict[str, int]) -> None:
    """Count names by how often each is there; None is missing."""
    counts, other = feature["counts"], len(index) - 1
    for value, times in pairs:
        if value is None or value == MISSING:
            feature["missing"] += times
        else:
            counts[index.get(str(value), other)] += times


def _add_few(feature: Feature, values: list[float]) -> None:
    edges, counts, ends = feature["edges"], feature["counts"], feature.get("range")
    for value in values:
        if value != value:  # NaN
            feature["missing"] += 1
            continue
        counts[bisect_left(edges, value)] += 1
        if ends and not ends[0] <= value <= ends[1]:
            feature["outside"] += 1


def _add_many(feature: Feature, values: np.ndarray) -> None:
    """Sort, then look the edges up among the values: ten times faster than each value among the edges."""
    ordered = np.sort(values)
    known = int(np.searchsorted(ordered, np.nan))  # NaN comes last
    ordered = ordered[:known]
    upto = np.searchsorted(ordered, feature["edges"], side="right")
    counted = np.diff(upto, prepend=0, append=known)
    feature["counts"] = (np.asarray(feature["counts"]) + counted).tolist()
    feature["missing"] += len(values) - known
    if "range" in feature:
        low, high = feature["range"]
        inside = np.searchsorted(ordered, high, side="right") - np.searchsorted(ordered, low)
        feature["outside"] += known - int(inside)
