"""How far apart two sets of counts are, and how likely that is by chance."""

import numpy as np
from scipy import special

from .bins import Feature

PSI_BINS = 10  # the field's custom, and the bar of 0.2 was set for it (Siddiqi, Credit Risk Scorecards)
EXPECTED = 5  # rows in a bin for the chi-squared limit to hold (Cochran 1954); rarer ones are joined
FLOOR = 0.001  # without one, a few rows in a bin that training left empty would make any PSI


def measure(before: Feature, now: Feature) -> tuple[float, float, float]:
    """Return PSI, KS distance and p-value of the values that are there."""
    old, new = np.array(before["counts"], dtype=float), np.array(now["counts"], dtype=float)
    learnt, served = old.sum(), new.sum()
    if not (learnt and served):
        return 0.0, 0.0, 1.0
    if "edges" in before:
        ks = float(np.abs(np.cumsum(old) / learnt - np.cumsum(new) / served).max())
        # Kolmogorov's limit; counts in bins make it slightly conservative.
        pooled = learnt * served / (learnt + served)
        group = groups(old)
        joined = [np.bincount(group, counts, PSI_BINS) for counts in (old, new)]
        return psi(joined[0], joined[1]), ks, float(special.kolmogorov(ks * np.sqrt(pooled)))
    ks = float(np.abs(old / learnt - new / served).sum() / 2)
    old, new = _joined(old, new)
    return psi(old, new), ks, _homogeneity(old, new)


def _joined(old: np.ndarray, new: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Put the bins that are too rare for a test into one."""
    smaller = min(old.sum(), new.sum()) / (old.sum() + new.sum())
    rare = (old + new) * smaller < EXPECTED
    join = [np.append(counts[~rare], counts[rare].sum()) for counts in (old, new)]
    return join[0], join[1]


def _homogeneity(old: np.ndarray, new: np.ndarray) -> float:
    """Return the p-value of Pearson's chi-squared test that two rows of counts have the same shares."""
    total = old + new
    old, new, total = old[total > 0], new[total > 0], total[total > 0]
    expected = total * new.sum() / total.sum()
    statistic = ((new - expected) ** 2 * (1 / expected + 1 / (total - expected))).sum()
    return float(special.chdtrc(len(total) - 1, statistic)) if len(total) > 1 else 1.0


def groups(old: np.ndarray) -> np.ndarray:
    """Return for each quantile bin which of about ten groups of equal weight in training it belongs to."""
    middle = np.cumsum(old) - old / 2
    return np.minimum(middle * PSI_BINS / max(old.sum(), 1), PSI_BINS - 1).astype(int)


def psi(old: np.ndarray, new: np.ndarray) -> float:
    """Return the population stability index; a share under FLOOR counts as FLOOR, so that none is empty."""
    before, now = np.maximum(old / old.sum(), FLOOR), np.maximum(new / new.sum(), FLOOR)
    return float(np.sum((now - before) * np.log(now / before)))
