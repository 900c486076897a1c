"""Is the model worse than at the gate? A verdict from labelled rows.

Worse needs an effect (the error over the hold-out's by more than a margin) and a p-value of a one-sided test
of two means; below a floor of labelled rows the verdict is "insufficient data". MAE and log loss are means of
a loss a row, so the normal limit holds for them.
"""

from dataclasses import asdict, dataclass, field
from math import sqrt
from typing import Any

import numpy as np
from scipy import special

from ..settings import Performance
from .labels import Week


@dataclass(frozen=True)
class PerformanceVerdict:
    """verdict: "same", "worse" or "insufficient data". value and expected: the error (MAE, log loss) now and
    on the hold-out; low, high: where the error is with 95 % confidence; previous: that of the version before
    on the same rows, where there was a file of rows to ask it.
    """

    verdict: str
    why: str
    rows: int
    value: float | None = None
    expected: float | None = None
    metric: str = ""
    low: float | None = None
    high: float | None = None
    previous: float | None = None
    labels_moved: bool = False
    weeks: list[Week] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def losses(truth: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    """Return the absolute error of each row, or minus the log of the true class's probability."""
    if predicted.ndim == 1:
        return np.abs(truth - predicted)
    chosen = predicted[np.arange(len(truth)), truth]
    return -np.log(np.clip(chosen, np.finfo(np.float64).eps, 1))


def judge(
    truth: np.ndarray,
    predicted: np.ndarray,
    facts: dict[str, Any],
    bars: Performance,
    before: np.ndarray | None = None,
) -> PerformanceVerdict:
    """Compare the error of labelled rows with the hold-out's, and with the version before on the same rows.

    truth: floats or class numbers; facts: metrics.json of the version; before: the other's predictions.
    """
    other = None if before is None else losses(truth, before)
    return judge_losses(losses(truth, predicted), facts, bars, other)


def judge_losses(
    loss: np.ndarray, facts: dict[str, Any], bars: Performance, other: np.ndarray | None = None
) -> PerformanceVerdict:
    """Judge the loss of each labelled row; other: the losses of the version before on the same rows."""
    found, expected, metric = len(loss), float(facts["error"]), str(facts["metric"])
    if found < bars.min_rows:
        why = f"{found:,} labelled rows, {bars.min_rows:,} are needed to tell"
        return PerformanceVerdict("insufficient data", why, found, expected=expected, metric=metric)
    value, error = float(loss.mean()), float(loss.std(ddof=1)) / sqrt(found)
    known = float(facts.get("error_sd", 0.0)) / sqrt(facts.get("rows", 1))  # the hold-out was a sample, too
    both = sqrt(error**2 + known**2)
    worse = value > expected * (1 + bars.worse) and _significant(value - expected, both, bars)
    why = f"{metric} {value:.4g}, {expected:.4g} at the gate"
    previous = None
    if other is not None:
        previous = float(other.mean())
        pair = loss - other
        paired = float(pair.std(ddof=1)) / sqrt(found)
        lost = value > previous * (1 + bars.worse) and _significant(value - previous, paired, bars)
        why += f", {previous:.4g} by the version before on the same rows"
        worse = worse or lost
    return PerformanceVerdict(
        "worse" if worse else "same",
        why,
        found,
        value,
        expected,
        metric,
        low=value - 1.96 * error,
        high=value + 1.96 * error,
        previous=previous,
    )


def _significant(difference: float, error: float, bars: Performance) -> bool:
    """Say whether a difference is too large to be chance."""
    return bool(special.ndtr(-difference / max(error, 1e-12)) < bars.p_value)
