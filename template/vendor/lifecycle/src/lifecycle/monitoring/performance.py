"""Is the model as good as it was at the gate? A verdict from rows that have labels by now.

Worse needs an effect (an error over the hold-out's by more than a margin) and a p-value of a one-sided test
of two means. MAE and log loss are means of a loss for each row, so the normal limit holds for them.
"""

import json
import time
from contextlib import suppress
from dataclasses import dataclass, field, replace
from math import sqrt
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pandas as pd
from scipy import special

from .. import console, files, settings
from ..data import validation
from ..data.arrays import from_frame
from ..errors import DataError, LifecycleError, RegistryError
from ..model.predictor import Predictor
from ..project import Project
from ..registry.base import PRODUCTION, Registry, live_folder, open_registry
from ..settings import Anomalies, Performance
from ..training import dataset, metrics
from . import ground_truth, logs
from .drift import Finding
from .profile import Profile


@dataclass(frozen=True)
class PerformanceVerdict(Finding):
    """Whether the model is worse by rows that have labels: "same", "worse" or "insufficient data"."""

    value: float | None = None  # the error of these rows
    expected: float | None = None  # the error on the hold-out
    metric: str = ""  # what the error is called: MAE or log loss
    low: float | None = None  # the error lies from low to high with 95 % confidence
    high: float | None = None
    previous: float | None = None  # the error of the version before, where a file of rows was given
    labels_moved: bool = False
    weeks: list[ground_truth.Week] = field(default_factory=list)


def judge(
    loss: np.ndarray, facts: dict[str, Any], thresholds: Performance, before: np.ndarray | None = None
) -> PerformanceVerdict:
    """Compare the mean of the rows' losses with the hold-out's, and with the version before's.

    facts: metrics.json of the version. before: the losses of the version before on the same rows.
    """
    rows, expected, metric = len(loss), float(facts["error"]), str(facts["metric"])
    if rows < thresholds.min_rows:
        why = f"{rows:,} labelled rows; a verdict needs {thresholds.min_rows:,}"
        return PerformanceVerdict("insufficient data", why, rows, expected=expected, metric=metric)
    value, spread = float(loss.mean()), float(loss.std(ddof=1)) / sqrt(rows)
    # The hold-out was a sample, too.
    both = sqrt(spread**2 + float(facts.get("error_sd", 0.0)) ** 2 / facts.get("rows", 1))
    worse = _is_worse(value, expected, both, thresholds)
    why, previous = f"{metric} {value:.4g}, {expected:.4g} at the gate", None
    if before is not None:
        previous, paired = float(before.mean()), float((loss - before).std(ddof=1)) / sqrt(rows)
        worse = worse or _is_worse(value, previous, paired, thresholds)
        why += f", {previous:.4g} by the version before on the same rows"
    word, low, high = "worse" if worse else "same", value - 1.96 * spread, value + 1.96 * spread
    return PerformanceVerdict(word, why, rows, value, expected, metric, low, high, previous)


def _is_worse(value: float, than: float, spread: float, thresholds: Performance) -> bool:
    """Return whether an error is larger by more than the margin and chance; spread: of the difference."""
    p_value = special.ndtr((than - value) / max(spread, 1e-12))
    return bool(value > than * (1 + thresholds.worse) and p_value < thresholds.p_value)


def check(project: Project, source: Path | None = None) -> PerformanceVerdict:
    """Judge what was served and has labels by now, or the rows of a Parquet file with the target.

    Raises LifecycleError while no version is in production; DataError when the file breaks schema.py.
    """
    params, model = settings.load(project), live_model(project)
    facts, before = model.manifest.metrics if model.manifest else {}, None
    if source:
        module = project.load("schema")
        rows = validation.check(pd.read_parquet(source), module)
        predicted = model.predict_arrays(from_frame(rows, model.schema.columns))
        times, target = np.zeros(len(rows)), rows[model.schema.target.name]
        if module.TIME:
            times = rows[module.TIME].to_numpy("datetime64[s]").astype(np.float64)
        before = _losses_before(project, rows, model.schema.classes)
    else:
        windows, hours = project.windows / model.version, params.performance.window_hours
        rows = ground_truth.joined(windows, project.labels, hours)
        times, (target, predicted) = rows["time"].to_numpy(float), ground_truth.compared(rows, model.schema)
    truth = metrics.truth(target, model.schema)
    verdict = judge(metrics.losses(truth, predicted), facts, params.performance, before)
    if verdict.value is None:
        return verdict
    why, word = verdict.why, verdict.verdict
    weeks = ground_truth.weekly(times, truth, predicted, facts, model.schema.classes, params.performance)
    if dropped := [week for week in weeks if week.dropped and week.week == weeks[-1].week]:
        figures = ", ".join(f"{w.figure} of {w.label} {w.value:.2f} ({w.expected:.2f})" for w in dropped)
        word, why = "worse", f"{why}; {dropped[0].week}: {figures}"
    if shift := ground_truth.moved(target, model.schema, Profile.read(model.folder), params.drift):
        why += f"; {shift}"
    return replace(verdict, verdict=word, why=why, weeks=weeks, labels_moved=bool(shift))


def live_model(project: Project) -> Predictor:
    """Return the model in production. Raises LifecycleError while there is none."""
    return Predictor(live_folder(project), project.features.build)


def _losses_before(project: Project, rows: pd.DataFrame, classes: list[Any]) -> np.ndarray | None:
    """Return the losses of the version before; None if there is none, or if it cannot predict these rows."""
    registry = open_registry(project)
    last = registry.last(PRODUCTION)[0]
    if not last.undo:
        return None
    with suppress(RegistryError, DataError, KeyError):  # it was pruned, or has other classes or columns
        theirs, losses = _losses_by(project, registry, last.undo[0], rows)
        return losses if theirs == classes else None


def _losses_by(
    project: Project, registry: Registry, version: str, rows: pd.DataFrame
) -> tuple[list[Any], np.ndarray]:
    """Return a version's classes, and the loss of each row by its predictions."""
    with TemporaryDirectory() as folder:
        model = Predictor(registry.fetch(version, Path(folder) / "model"), project.features.build)
        predicted = model.predict_arrays(from_frame(rows, model.schema.columns))
        truth = metrics.truth(rows[model.schema.target.name], model.schema)
        return model.schema.classes, metrics.losses(truth, predicted)


def better_before(project: Project, registry: Registry) -> bool:
    """Return whether the version that a rollback goes to has the smaller error on the newest labelled rows.

    These are of the last drift.window_hours. If it cannot be found out (no labels yet, too few rows, other
    columns), it prints why and returns False.
    """
    last, schema = registry.last(PRODUCTION)[0], project.load("schema")
    try:
        thresholds = settings.load(project).drift
        if not last.undo:
            raise ValueError("none is before it")
        rows = dataset.load(project.load("data"), project.root)
        rows = rows[rows[schema.TARGET].notna()]
        if schema.TIME:
            oldest = rows[schema.TIME].max() - pd.Timedelta(hours=thresholds.window_hours)
            rows = rows[rows[schema.TIME] > oldest]
        if not schema.TIME or len(rows) < thresholds.min_rows:
            found = f"{len(rows):,} rows with a label and a time"
            raise ValueError(f"{found}, {thresholds.min_rows:,} are needed")
        rows, pair = validation.check(rows, schema), (last.version, last.undo[0])
        now, before = (_losses_by(project, registry, version, rows)[1].mean() for version in pair)
    except (LifecycleError, KeyError, ValueError) as problem:
        console.failed(f"the version before cannot be compared: {problem}", "nothing: it is not rolled back")
        return False
    return bool(before < now)


def take_labels(project: Project, source: Path) -> str:
    """Keep the labels of a file and log predictions far from them. Returns what was done, in a sentence."""
    params, model = settings.load(project), live_model(project)
    labels, windows = ground_truth.load(source, model.schema), project.windows / model.version
    ground_truth.keep(labels, project.labels)
    rows = ground_truth.joined(windows, project.labels, params.performance.window_hours)
    rows = rows[rows["id"].isin(labels["id"])]
    far = log_residuals(rows, model, windows, params.anomalies)
    done = f"{len(labels):,} labels kept; {len(rows):,} are of predictions by {model.version}"
    return done + (f"; {far:,} far from them, in the anomaly log" if far else "")


def log_residuals(rows: pd.DataFrame, model: Predictor, folder: Path, rules: Anomalies) -> int:
    """Log labelled predictions that are far off, without inputs. Returns how many were logged.

    A number: the residual is over rules.sigma standard deviations of the hold-out's. A class: the loss is so
    many standard deviations over the hold-out's mean loss.
    """
    facts = model.manifest.metrics if model.manifest else {}
    target, predicted = ground_truth.compared(rows, model.schema)
    loss = metrics.losses(metrics.truth(target, model.schema), predicted)
    start, spread = ("error", "error_sd") if model.schema.classes else ("", "rmse")
    limit = facts.get(start, 0.0) + rules.sigma * facts.get(spread, np.inf)
    path = folder / logs.ANOMALIES / f"{time.strftime('%Y%m%d', time.gmtime())}-labels.jsonl"
    room = max(rules.most_a_day - len(files.read_lines(path)), 0)
    lines = []
    for row in rows.assign(loss=loss)[loss > limit].head(room).itertuples():
        why = [f"far off its label: {row.loss:.4g}"]
        lines.append(json.dumps({"id": row.id, "at": round(row.time), "why": why}) + "\n")
    if lines:
        logs.append(path, lines)
    return len(lines)
