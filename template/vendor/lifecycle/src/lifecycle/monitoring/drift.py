"""Has what is served moved away from what was learnt from? A verdict, from counts alone.

A feature drifts when the effect is large (PSI or KS distance) and also significant after correcting for
the number of features: without the first, large samples always alarm; without the second, small ones.
Missing values, unknown categories and numbers far out of training's range are broken data, judged apart.
"""

from dataclasses import dataclass
from math import sqrt

import numpy as np
from scipy import special, stats

from ..errors import DRIFT, INSUFFICIENT_DATA, DataError
from ..settings import Drift
from .histogram import OTHER, Histogram
from .profile import PREDICTION, Profile

CHANCE = 1000  # features that could share the level at which a rate counts as risen
PSI_BINS = 10  # customary, and the threshold of 0.2 was set for it (Siddiqi, Credit Risk Scorecards)
EXPECTED = 5  # rows in a bin for the chi-squared limit to hold (Cochran 1954); rarer ones are joined
FLOOR = 0.001  # without one, a few rows in a bin that training left empty would make any PSI


@dataclass(frozen=True)
class Feature:
    """One feature compared with training, by the values that are not missing. Shares are from 0 to 1."""

    name: str
    psi: float  # population stability index
    ks: float  # largest difference of the shares below a value; of categories, the total variation distance
    p_value: float  # corrected by Benjamini-Hochberg for the number of features
    missing: float  # share of missing values
    missing_before: float  # the same in training
    drifted: bool
    new: float = 0.0  # share of categories that training did not count
    outside: float = 0.0  # share of numbers beyond training's range
    fault: str = ""  # what is broken about it
    importance: float | None = None  # effect on predictions, relative to the largest; None: not measured
    matters: bool = True  # whether it may make a verdict


@dataclass(frozen=True)
class Finding:
    """What a check found, of drift here and of the error in performance.py."""

    verdict: str  # "no drift", "drift", "broken data", "same", "worse" or "insufficient data"
    why: str  # in a sentence
    rows: int  # that were compared

    @property
    def exit_code(self) -> int:
        """The exit code of a command that found this."""
        codes = {"no drift": 0, "same": 0, "drift": DRIFT, "worse": DRIFT, "broken data": DataError.exit_code}
        return codes.get(self.verdict, INSUFFICIENT_DATA)


@dataclass(frozen=True)
class Verdict(Finding):
    """Whether what is served drifted."""

    rejected: int  # rows that broke the schema
    features: list[Feature]  # the broken ones first, then the most moved


def judge(reference: Profile, current: Profile, rejected: int, thresholds: Drift) -> Verdict:
    """Compare current counts with the training profile. rejected: rows that broke the schema."""
    seen = current.rows + rejected
    features = compare(reference, current, thresholds) if current.rows else []
    drifted = [feature.name for feature in features if feature.drifted and feature.matters]
    ignored = [feature.name for feature in features if feature.drifted and not feature.matters]
    faults = [f"{feature.name} ({feature.fault})" for feature in features if feature.fault]
    if seen < thresholds.min_rows:
        word, why = "insufficient data", f"{seen:,} rows; a verdict needs {thresholds.min_rows:,}"
    elif rejected > thresholds.max_rejected * seen:
        word, why = "broken data", f"{rejected:,} of {seen:,} rows broke the schema"
    elif current.rows < thresholds.min_rows:
        word, why = "insufficient data", f"only {current.rows:,} rows were good"
    elif faults:
        word, why = "broken data", "broken: " + ", ".join(faults)
    elif drifted:
        word, why = "drift", "moved: " + ", ".join(drifted)
    else:
        word, why = "no drift", f"{len(features)} features, none moved"
        why += f" that matters to the predictions (moved: {', '.join(ignored)})" if ignored else ""
    return Verdict(word, why, current.rows, rejected, features)


def compare(reference: Profile, current: Profile, thresholds: Drift) -> list[Feature]:
    """Measure every feature. Returns the broken ones first, then the most moved."""
    names = list(reference.features)
    measured = [measure(reference.features[name], current.features[name]) for name in names]
    corrected = stats.false_discovery_control([p for _, _, p in measured], method="bh")
    sizes, features = (max(reference.rows, 1), max(current.rows, 1)), []
    for name, (psi, ks, _), p in zip(names, measured, corrected.tolist(), strict=True):
        before, now = _rates(reference.features[name], sizes[0]), _rates(current.features[name], sizes[1])
        fault = "" if name == PREDICTION else _fault(before, now, sizes, thresholds)
        importance = reference.features[name].get("importance")
        matters = importance is None or importance >= thresholds.min_importance
        rates = now[0], before[0], is_far(psi, ks, p, thresholds), now[1], now[2]
        features.append(Feature(name, psi, ks, p, *rates, fault, importance, matters))
    return sorted(features, key=lambda feature: (not feature.fault, -feature.drifted, -feature.ks))


def is_far(psi: float, ks: float, p_value: float, thresholds: Drift) -> bool:
    """Return whether the effect is large and more than chance."""
    return (psi > thresholds.psi or ks > thresholds.ks) and p_value < thresholds.p_value


def _rates(feature: Histogram, rows: int) -> list[float]:
    """Return the shares of missing values, of categories that training did not count, and out of range."""
    other = feature["counts"][-1] if feature.get("names", [""])[-1] == OTHER else 0
    return [count / rows for count in (feature["missing"], other, feature.get("outside", 0))]


def _fault(before: list[float], now: list[float], sizes: tuple[int, int], thresholds: Drift) -> str:
    """Return which rates rose by more than their thresholds, and not by chance (test of two shares)."""
    kinds, found = ("missing", "new categories", "out of range"), []
    limits = thresholds.max_missing, thresholds.max_new, thresholds.max_outside
    for what, old, new, limit in zip(kinds, before, now, limits, strict=True):
        if new - old > limit:
            pooled = (old * sizes[0] + new * sizes[1]) / sum(sizes)
            error = sqrt(pooled * (1 - pooled) * (1 / sizes[0] + 1 / sizes[1]))
            if special.ndtr((old - new) / max(error, 1e-12)) < thresholds.p_value / CHANCE:
                found.append(f"{new:.0%} {what}, in training {old:.0%}")
    return "; ".join(found)


def measure(before: Histogram, now: Histogram) -> tuple[float, float, float]:
    """Return PSI, KS distance and the uncorrected p-value of the values that are not missing.

    The p-value of a number is Kolmogorov's limit, which counts in bins make slightly conservative; that of a
    category is Pearson's chi-squared test of equal shares.
    """
    old, new = np.array(before["counts"], dtype=float), np.array(now["counts"], dtype=float)
    learnt, served = old.sum(), new.sum()
    if not (learnt and served):
        return 0.0, 0.0, 1.0
    if "edges" in before:
        ks = float(np.abs(np.cumsum(old) / learnt - np.cumsum(new) / served).max())
        pooled = learnt * served / (learnt + served)
        group = groups(old)
        joined = [np.bincount(group, counts, PSI_BINS) for counts in (old, new)]
        return psi(*joined), ks, float(special.kolmogorov(ks * np.sqrt(pooled)))
    ks = float(np.abs(old / learnt - new / served).sum() / 2)
    rare = (old + new) * min(learnt, served) / (learnt + served) < EXPECTED
    table = np.array([np.append(counts[~rare], counts[rare].sum()) for counts in (old, new)])
    table = table[:, table.any(axis=0)]
    expected, freedom = np.outer(table.sum(axis=1), table.sum(axis=0)) / table.sum(), table.shape[1] - 1
    statistic = ((table - expected) ** 2 / expected).sum()
    return psi(*table), ks, float(special.chdtrc(freedom, statistic)) if freedom else 1.0


def groups(old: np.ndarray) -> np.ndarray:
    """Return for each quantile bin which of about ten groups of equal weight in training it belongs to."""
    middle = np.cumsum(old) - old / 2
    return np.minimum(middle * PSI_BINS / max(old.sum(), 1), PSI_BINS - 1).astype(int)


def psi(old: np.ndarray, new: np.ndarray) -> float:
    """Return the population stability index; a share under FLOOR counts as FLOOR, so that none is empty."""
    before, now = np.maximum(old / old.sum(), FLOOR), np.maximum(new / new.sum(), FLOOR)
    return float(np.sum((now - before) * np.log(now / before)))
