"""Has what is served moved away from what was learnt from? A verdict, from counts alone.

A feature drifts when the effect is large (PSI or KS distance) and also significant after correcting for
the number of features: without the first, large samples always alarm; without the second, small ones.
"""

from dataclasses import asdict, dataclass

import numpy as np
from scipy import stats

from ..settings import Drift
from .profile import Profile

PSI_BINS = 10  # the field's custom, and the bar of 0.2 was set for it (Siddiqi, Credit Risk Scorecards)


@dataclass(frozen=True)
class Feature:
    """One feature against training. ks: largest difference of the shares below a value (categories:
    total variation distance); p_value: corrected by Benjamini-Hochberg."""

    name: str
    psi: float
    ks: float
    p_value: float
    missing: float
    missing_before: float
    drifted: bool


@dataclass(frozen=True)
class Verdict:
    """verdict: "no drift", "drift", "insufficient data" or "broken data"."""

    verdict: str
    why: str
    rows: int
    rejected: int
    features: list[Feature]

    def to_dict(self) -> dict:
        return asdict(self)


def judge(reference: Profile, current: Profile, rejected: int, bars: Drift) -> Verdict:
    """Compare served counts with the training profile."""
    seen = current.rows + rejected
    features = compare(reference, current, bars) if current.rows else []
    drifted = [feature.name for feature in features if feature.drifted]
    if seen < bars.min_rows:
        word, why = "insufficient data", f"{seen:,} rows, {bars.min_rows:,} are needed to tell"
    elif rejected > bars.max_rejected * seen:
        word, why = "broken data", f"{rejected:,} of {seen:,} rows broke the schema"
    elif current.rows < bars.min_rows:
        word, why = "insufficient data", f"only {current.rows:,} rows were good"
    elif drifted:
        word, why = "drift", "moved: " + ", ".join(drifted)
    else:
        word, why = "no drift", f"{len(features)} features, none moved"
    return Verdict(word, why, current.rows, rejected, features)


def compare(reference: Profile, current: Profile, bars: Drift) -> list[Feature]:
    """Measure every feature, the most moved first."""
    names = list(reference.features)
    measured = [_measure(reference.features[name], current.features[name]) for name in names]
    corrected = stats.false_discovery_control([p for _, _, p in measured], method="bh")
    features = [
        Feature(
            name=name,
            psi=psi,
            ks=ks,
            p_value=float(p_value),
            missing=_missing(current.features[name], current.rows),
            missing_before=_missing(reference.features[name], reference.rows),
            drifted=bool((psi > bars.psi or ks > bars.ks) and p_value < bars.p_value),
        )
        for name, (psi, ks, _), p_value in zip(names, measured, corrected, strict=True)
    ]
    return sorted(features, key=lambda feature: (-feature.drifted, -feature.ks))


def _missing(feature: dict, rows: int) -> float:
    return feature["missing"] / rows if rows else 0.0


def _measure(before: dict, now: dict) -> tuple[float, float, float]:
    """Return PSI, KS distance and p-value, missing values being a bin of their own."""
    old = np.array([*before["counts"], before["missing"]], dtype=float)
    new = np.array([*now["counts"], now["missing"]], dtype=float)
    if "edges" in before:
        ks = float(np.max(np.abs(np.cumsum(old) / old.sum() - np.cumsum(new) / new.sum())))
        # Kolmogorov's limit; counts in bins make it slightly conservative.
        pooled = old.sum() * new.sum() / (old.sum() + new.sum())
        return psi(*_coarse(old, new)), ks, float(stats.kstwobign.sf(ks * np.sqrt(pooled)))
    ks = float(np.abs(old / old.sum() - new / new.sum()).sum() / 2)
    used = (old + new) > 0
    table = np.vstack([old, new])[:, used]
    p_value = float(stats.chi2_contingency(table).pvalue) if table.shape[1] > 1 else 1.0
    return psi(old, new), ks, p_value


def _coarse(old: np.ndarray, new: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Join quantile bins into about ten of equal weight in training; the missing bin stays apart."""
    middle = np.cumsum(old[:-1]) - old[:-1] / 2
    group = np.minimum(middle * PSI_BINS / max(old[:-1].sum(), 1), PSI_BINS - 1).astype(int)
    joined = [np.bincount(group, counts[:-1], PSI_BINS) for counts in (old, new)]
    return np.append(joined[0], old[-1]), np.append(joined[1], new[-1])


def psi(old: np.ndarray, new: np.ndarray) -> float:
    """Return the population stability index, with half a row in each bin so that none is empty."""
    used = (old + new) > 0
    before, now = old[used] + 0.5, new[used] + 0.5
    before, now = before / before.sum(), now / now.sum()
    return float(np.sum((now - before) * np.log(now / before)))
