"""Labels that came later, by prediction id: checked and kept, the newest of an id counts; and what they tell.

A class's precision and recall, week by week, against those at the gate; labels that moved against training's.
"""

import hashlib
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy import special

from ..columns import Schema
from ..errors import DataError
from ..settings import Drift, Performance
from . import bins
from .measures import measure
from .profile import Profile

KEEP_DAYS = 90
FEW = 30  # rows of a class in a week, below which its precision and recall are not judged


def load(source: Path, schema: Schema) -> pd.DataFrame:
    """Read a Parquet or CSV file with id and label; DataError says which labels are no such thing."""
    try:
        whole = pd.read_csv(source, dtype={"id": str}) if source.suffix == ".csv" else pd.read_parquet(source)
    except (OSError, ValueError) as error:
        raise DataError(f"{source} cannot be read: {error}", "bring Parquet, or CSV named .csv") from error
    missing = {"id", "label"} - set(whole.columns)
    if missing:
        raise DataError(f"{source} has no column {' and '.join(sorted(missing))}", "bring id and label")
    frame = whole[["id", "label"]].dropna().astype({"id": str})
    if schema.classes:
        names = {str(label): label for label in schema.classes}
        strange = sorted(set(frame["label"].astype(str)) - names.keys())
        frame["label"] = frame["label"].astype(str)
    else:
        numbers = pd.to_numeric(frame["label"], errors="coerce")
        strange = frame["label"][~np.isfinite(numbers)].astype(str).unique().tolist()
        frame["label"] = numbers.astype(float)
    if strange:
        raise DataError(f"{source} has labels that the model does not know: {', '.join(strange[:5])}")
    return frame.drop_duplicates("id", keep="last")


def keep(frame: pd.DataFrame, folder: Path) -> None:
    """Keep labels, the same ones once, and forget those that came long ago."""
    folder.mkdir(parents=True, exist_ok=True)
    digest = hashlib.sha256(pd.util.hash_pandas_object(frame, index=False).to_numpy().tobytes()).hexdigest()
    partial = folder / f".{digest[:16]}.partial"
    frame.to_parquet(partial, index=False)
    partial.replace(folder / f"{digest[:16]}.parquet")
    for path in folder.glob("*.parquet"):
        if path.stat().st_mtime < time.time() - KEEP_DAYS * 86400:
            path.unlink(missing_ok=True)


def read_labels(folder: Path) -> pd.DataFrame:
    """Return all labels that are kept, one for each id: what came last."""
    paths = sorted(folder.glob("*.parquet"), key=lambda path: path.stat().st_mtime)
    if not paths:
        return pd.DataFrame({"id": pd.Series(dtype=str), "label": pd.Series(dtype=object)})
    whole = pd.concat([pd.read_parquet(path) for path in paths], ignore_index=True)
    return whole.drop_duplicates("id", keep="last")


@dataclass(frozen=True)
class Week:
    """Precision or recall of a class in a week, and at the gate. dropped: by more than the bar and chance."""

    week: str
    label: str
    figure: str
    rows: int
    value: float
    expected: float
    dropped: bool


def weekly(
    times: np.ndarray,
    truth: np.ndarray,
    predicted: np.ndarray,
    facts: dict[str, Any],
    classes: list[Any],
    bars: Performance,
) -> list[Week]:
    """Return each week's figures, the oldest first; none for a number, or a version without a baseline.

    times: seconds since 1970; truth: class numbers; predicted: probabilities; facts: metrics.json.
    """
    baseline = facts.get("classes", {})
    if not (classes and baseline):
        return []
    said = predicted.argmax(axis=1)
    weeks = pd.to_datetime(times, unit="s").strftime("%G-W%V").to_numpy()
    found = []
    for week in np.unique(weeks):
        for number, label in enumerate(map(str, classes)):
            right = int(((said == number) & (truth == number) & (weeks == week)).sum())
            for figure, among in (("precision", said), ("recall", truth)):
                rows = int(((among == number) & (weeks == week)).sum())
                if rows >= FEW:
                    found.append((str(week), label, figure, rows, right, baseline[label][figure]))
    return [
        Week(week, label, figure, rows, right / rows, was, _fell(right, rows, was, len(found), bars))
        for week, label, figure, rows, right, was in found
    ]


def _fell(right: int, rows: int, was: float, tests: int, bars: Performance) -> bool:
    """Say whether a share fell by more than the bar, and by more than chance: a binomial test, Bonferroni."""
    chance = float(special.bdtr(right, rows, min(was, 1 - 1e-9)))
    return was - right / rows > bars.drop and chance * tests < bars.p_value


def moved(labels: pd.Series, schema: Schema, reference: Profile, bars: Drift) -> str:
    """Say how far labels are from training's; "" when they are not, or when training did not count them."""
    if not reference.labels:
        return ""
    values = labels.astype(str).to_numpy(object) if schema.classes else labels.to_numpy(np.float64)
    now = bins.blank(reference.labels)
    bins.add(now, values, bins.places(now))
    psi, ks, p_value = measure(reference.labels, now)
    too_far = (psi > bars.psi or ks > bars.ks) and p_value < bars.p_value
    return f"labels moved: PSI {psi:.2f}, KS {ks:.2f}" if too_far else ""
