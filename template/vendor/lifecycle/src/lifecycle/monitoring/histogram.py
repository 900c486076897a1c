"""One column's bins, chosen from training, and the counting into them: the inner loops of a profile."""

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable
from typing import Any

import numpy as np

from ..data.arrays import MISSING

BINS = 64  # at 64 quantiles the KS distance is off by at most 1/64, a sixth of its threshold
CATEGORIES = 64  # of one column that are counted apart; the rest are "(other)"
OTHER = "(other)"
MARGIN = 0.5  # of training's width beyond its ends before a value is outside: a shift is no broken unit
FEW = 16  # rows that a loop counts faster than NumPy does
CHUNK = 1 << 16  # values that are sorted at once: they fit the processor's cache

# "counts", "missing"; "names" of a category, sorted and OTHER behind them, or "edges", "range", "outside"
Histogram = dict[str, Any]


def choose(values: np.ndarray) -> Histogram:
    """Return the bins of a column, empty: quantiles of a number, the most frequent names of a category."""
    if values.dtype.kind == "O":
        names, counts = np.unique(values[values != MISSING].astype(str), return_counts=True)
        kept = sorted(names[np.argsort(-counts, kind="stable")][:CATEGORIES].tolist())
        return {"names": [*kept, OTHER], "counts": [0] * (len(kept) + 1), "missing": 0}
    known = np.sort(values[np.isfinite(values)])
    if not len(known):
        return {"edges": [0.0], "counts": [0, 0], "missing": 0}
    quantiles = np.ceil(np.linspace(0, 1, BINS + 1)[1:-1] * len(known)).astype(int) - 1
    edges, beyond = np.unique(known[quantiles]).tolist(), MARGIN * (known[-1] - known[0])
    ends = [float(known[0] - beyond), float(known[-1] + beyond)]
    return {"edges": edges, "counts": [0] * (len(edges) + 1), "missing": 0, "range": ends, "outside": 0}


def blank(histogram: Histogram) -> Histogram:
    """Return the same bins with nothing counted."""
    zero = {key: 0 for key in ("missing", "outside") if key in histogram}
    return {**histogram, "counts": [0] * len(histogram["counts"]), **zero}


def add(histogram: Histogram, values: np.ndarray) -> None:
    """Count a column's values."""
    if "names" in histogram:
        names = values.tolist()
        add_names(histogram, [(names[0], 1)] if len(names) == 1 else Counter(names).items())
    elif len(values) <= FEW:
        _add_few(histogram, values.tolist())
    else:
        for start in range(0, len(values), CHUNK):
            _add_many(histogram, values[start : start + CHUNK])


def add_names(histogram: Histogram, pairs: Iterable[tuple[Any, int]]) -> None:
    """Count names by how often each occurs; None is missing."""
    names, other = histogram["names"], len(histogram["names"]) - 1
    for value, times in pairs:
        if value is None or value == MISSING:
            histogram["missing"] += times
        else:
            place = bisect_left(names, name := str(value), hi=other)
            histogram["counts"][place if names[place] == name else other] += times


def _add_few(histogram: Histogram, values: list[float]) -> None:
    edges, counts, ends = histogram["edges"], histogram["counts"], histogram.get("range")
    for value in values:
        if value != value:  # NaN
            histogram["missing"] += 1
            continue
        counts[bisect_left(edges, value)] += 1
        if ends and not ends[0] <= value <= ends[1]:
            histogram["outside"] += 1


def _add_many(histogram: Histogram, values: np.ndarray) -> None:
    """Sort, then look the edges up among the values: ten times faster than each value among the edges."""
    ordered = np.sort(values)
    known = int(np.searchsorted(ordered, np.nan))  # NaN comes last
    ordered = ordered[:known]
    upto = np.searchsorted(ordered, histogram["edges"], side="right")
    counted = np.diff(upto, prepend=0, append=known)
    histogram["counts"] = (np.asarray(histogram["counts"]) + counted).tolist()
    histogram["missing"] += len(values) - known
    if "range" in histogram:
        low, high = histogram["range"]
        upto = np.searchsorted(ordered, low), np.searchsorted(ordered, high, side="right")
        histogram["outside"] += known - int(upto[1] - upto[0])
