"""Has what is served moved away from what was learnt from? A verdict, from counts alone.

A feature drifts when the effect is large (PSI or KS distance) and also significant after correcting for
the number of features: without the first, large samples always alarm; without the second, small ones.
Missing values, unknown categories and numbers far out of training's range are broken data,
judged apart.
"""

from dataclasses import asdict, dataclass
from math import sqrt

from scipy import special, stats

from ..settings import Drift
from .bins import OTHER
from .measures import measure
from .profile import PREDICTION, Profile

CHANCE = 1000  # features that could share the level at which a rate counts as risen


@dataclass(frozen=True)
class Feature:
    """One feature against training, by the values that are not missing. ks: largest difference of the shares
    below a value (categories: total variation distance); p_value: corrected by Benjamini-Hochberg.

    new: share of categories that training did not count; outside: of numbers beyond training's range.
    fault: what is broken about it, or "". importance: how much predictions change when the feature is
    shuffled, against the most important one; None where training did not say. matters: it may make a verdict.
    """

    name: str
    psi: float
    ks: float
    p_value: float
    missing: float
    missing_before: float
    drifted: bool
    new: float = 0.0
    outside: float = 0.0
    fault: str = ""
    importance: float | None = None
    matters: bool = True


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
    drifted = [feature.name for feature in features if feature.drifted and feature.matters]
    ignored = [feature.name for feature in features if feature.drifted and not feature.matters]
    faults = [f"{feature.name} ({feature.fault})" for feature in features if feature.fault]
    if seen < bars.min_rows:
        word, why = "insufficient data", f"{seen:,} rows, {bars.min_rows:,} are needed to tell"
    elif rejected > bars.max_rejected * seen:
        word, why = "broken data", f"{rejected:,} of {seen:,} rows broke the schema"
    elif current.rows < bars.min_rows:
        word, why = "insufficient data", f"only {current.rows:,} rows were good"
    elif faults:
        word, why = "broken data", "broken: " + ", ".join(faults)
    elif drifted:
        word, why = "drift", "moved: " + ", ".join(drifted)
    else:
        word, why = "no drift", f"{len(features)} features, none moved"
        why += f" that matters to the predictions (moved: {', '.join(ignored)})" if ignored else ""
    return Verdict(word, why, current.rows, rejected, features)


def compare(reference: Profile, current: Profile, bars: Drift) -> list[Feature]:
    """Measure every feature, the most moved first."""
    names = list(reference.features)
    measured = [measure(reference.features[name], current.features[name]) for name in names]
    corrected = stats.false_discovery_control([p for _, _, p in measured], method="bh")
    features = []
    for name, (psi, ks, _), p_value in zip(names, measured, corrected, strict=True):
        before, now = reference.features[name], current.features[name]
        importance = before.get("importance")
        features.append(
            Feature(
                name=name,
                psi=psi,
                ks=ks,
                p_value=float(p_value),
                missing=now["missing"] / max(current.rows, 1),
                missing_before=before["missing"] / max(reference.rows, 1),
                drifted=bool((psi > bars.psi or ks > bars.ks) and p_value < bars.p_value),
                new=_other(now) / max(current.rows, 1),
                outside=now.get("outside", 0) / max(current.rows, 1),
                fault="" if name == PREDICTION else _fault(before, now, reference.rows, current.rows, bars),
                importance=importance,
                matters=importance is None or importance >= bars.min_importance,
            )
        )
    return sorted(features, key=lambda feature: (not feature.fault, -feature.drifted, -feature.ks))


def _other(feature: dict) -> int:
    return feature["counts"][-1] if feature.get("names", [""])[-1] == OTHER else 0


def _fault(before: dict, now: dict, rows_before: int, rows: int, bars: Drift) -> str:
    """Say what is broken about a feature: a rate that rose over its bar, and not by chance.

    Chance is ruled out by a one-sided test of two shares.
    """
    found = []
    for what, old, new, bar in (
        ("missing", before["missing"], now["missing"], bars.max_missing),
        ("new categories", _other(before), _other(now), bars.max_new),
        ("out of range", before.get("outside", 0), now.get("outside", 0), bars.max_outside),
    ):
        rise = new / rows - old / max(rows_before, 1)
        pooled = (old + new) / (rows_before + rows)
        error = sqrt(pooled * (1 - pooled) * (1 / rows + 1 / max(rows_before, 1)))
        if rise > bar and special.ndtr(-rise / max(error, 1e-12)) < bars.p_value / CHANCE:
            found.append(f"{new / rows:.0%} {what}, in training {old / max(rows_before, 1):.0%}")
    return "; ".join(found)
