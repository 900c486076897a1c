"""Labels that came later, by prediction id: checked, kept and joined to predictions.

What they show beside the error: precision and recall of each class by week, and labels that moved.
"""

import time
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy import special

from .. import files
from ..data.schema import Schema
from ..errors import DataError
from ..settings import Drift, Performance
from ..training.lineage import data_hash
from . import histogram
from .drift import is_far, measure
from .logs import KEEP_DAYS, read_predictions
from .profile import Profile

FEW = 30  # rows of a class in a week, below which its precision and recall are not judged


def load(source: Path, schema: Schema) -> pd.DataFrame:
    """Read a file of ids and labels. Raises DataError for labels that the model cannot have."""
    try:
        whole = pd.read_csv(source, dtype={"id": str}) if source.suffix == ".csv" else pd.read_parquet(source)
    except (OSError, ValueError) as error:
        raise DataError(f"{source} cannot be read: {error}", "bring Parquet, or CSV named .csv") from error
    if missing := {"id", "label"} - set(whole.columns):
        raise DataError(f"{source} has no column {' and '.join(sorted(missing))}", "bring id and label")
    frame = whole[["id", "label"]].dropna().astype({"id": str})
    texts = frame["label"].astype(str)
    frame["label"] = texts if schema.classes else pd.to_numeric(frame["label"], errors="coerce").astype(float)
    known = texts.isin(map(str, schema.classes)) if schema.classes else np.isfinite(frame["label"])
    if unknown := sorted(set(texts[~known])):
        raise DataError(f"{source} has labels that the model does not know: {', '.join(unknown[:5])}")
    return frame.drop_duplicates("id", keep="last")


def keep(labels: pd.DataFrame, folder: Path) -> None:
    """Keep labels, the same ones once, and remove those that came long ago."""
    files.write_parquet(labels, folder / f"{data_hash(labels)[:16]}.parquet")
    files.remove_old(folder, KEEP_DAYS)


def read_labels(folder: Path) -> pd.DataFrame:
    """Return all labels that are kept, one for each id: the one that came last."""
    paths = sorted(folder.glob("*.parquet"), key=lambda path: path.stat().st_mtime)
    parts = [pd.read_parquet(path) for path in paths] or [pd.DataFrame({"id": [], "label": []}, dtype=object)]
    return pd.concat(parts, ignore_index=True).drop_duplicates("id", keep="last")


def joined(windows: Path, labels: Path, hours: float) -> pd.DataFrame:
    """Return a version's predictions of the last hours that have a label: id, time, label, p0, p1, …"""
    made = read_predictions(windows, time.time() - hours * 3600)
    return made.merge(read_labels(labels), on="id", how="inner", validate="many_to_one")


def compared(rows: pd.DataFrame, schema: Schema) -> tuple[pd.Series, np.ndarray]:
    """Return the labels of joined rows, as classes or floats, and the predictions as the model gave them."""
    predicted = rows.filter(regex=r"^p\d+$").to_numpy(np.float64)
    if not schema.classes:
        return rows["label"].astype(float), predicted.reshape(-1)
    return rows["label"].astype(str).map({str(label): label for label in schema.classes}), predicted


@dataclass(frozen=True)
class Week:
    """Precision or recall of a class in a week."""

    week: str  # as 2026-W07
    label: str
    figure: str  # "precision" or "recall"
    rows: int
    value: float
    expected: float  # at the gate
    dropped: bool = False  # by more than the threshold, and by more than chance


def weekly(
    times: np.ndarray,  # [rows] seconds since 1970
    truth: np.ndarray,  # [rows] class numbers
    predicted: np.ndarray,  # [rows, classes] probabilities
    facts: dict[str, Any],  # metrics.json of the version
    classes: list[Any],
    thresholds: Performance,
) -> list[Week]:
    """Return each week's figures, the oldest first; none for a number, or a version without a baseline."""
    baseline = facts.get("classes", {})
    if not (classes and baseline):
        return []
    chosen, found = predicted.argmax(axis=1), []
    weeks = pd.to_datetime(times, unit="s").strftime("%G-W%V").to_numpy()
    for week, (number, label) in product(np.unique(weeks), enumerate(map(str, classes))):
        for figure, among in (("precision", chosen), ("recall", truth)):
            right = (chosen == truth)[(among == number) & (weeks == week)]
            if (rows := len(right)) >= FEW:
                was = baseline[label][figure]
                chance = special.bdtr(right.sum(), rows, min(was, 1 - 1e-9))  # a binomial test
                found.append((Week(str(week), label, figure, rows, float(right.mean()), was), chance))
    least = thresholds.p_value / max(len(found), 1)  # Bonferroni
    return [replace(w, dropped=bool(w.expected - w.value > thresholds.drop and p < least)) for w, p in found]


def moved(labels: pd.Series, schema: Schema, reference: Profile, thresholds: Drift) -> str:
    """Return how far labels are from training's; "" if they are not, or if training did not count them."""
    if not reference.labels:
        return ""
    values = labels.astype(str).to_numpy(object) if schema.classes else labels.to_numpy(np.float64)
    now = histogram.blank(reference.labels)
    histogram.add(now, values)
    psi, ks, p_value = measure(reference.labels, now)
    return f"labels moved: PSI {psi:.2f}, KS {ks:.2f}" if is_far(psi, ks, p_value, thresholds) else ""
