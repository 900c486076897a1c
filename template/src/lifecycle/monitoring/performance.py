"""Is the model as good as it was at the gate? Labels that came later, joined to what was predicted."""

import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from .. import columns, estimator, project, settings
from ..errors import LifecycleError, RegistryError
from ..registry.contract import last_move, live_model, open_registry
from ..serving.predictor import Predictor
from ..steps.validate import check
from . import predictions
from .judgement import PerformanceVerdict, judge
from .labels import moved, read_labels, weekly
from .profile import Profile

PREVIOUS = project.ARTIFACTS / "previous"


def look(source: Path | None = None) -> PerformanceVerdict:
    """Return the verdict on what was served and has labels by now, or on a Parquet file with the target.

    LifecycleError while no version is in production; DataError when the file breaks schema.py.
    """
    params, folder = settings.load(), live_model()
    if folder is None:
        raise LifecycleError("no version is in production", "approve one: make promote")
    model = Predictor(folder)
    facts, before = model.manifest.metrics if model.manifest else {}, None
    if source:
        times, target, predicted, before = _ask(source, model)
    else:
        made = joined(project.WINDOWS / model.version, project.LABELS, params.performance.window_hours)
        predicted = made[[name for name in made if str(name).startswith("p")]].to_numpy(np.float64)
        predicted = predicted if model.schema.classes else predicted.reshape(-1)
        times, target = made["time"].to_numpy(np.float64), made["label"]
    if model.schema.classes:
        names = {str(label): label for label in model.schema.classes}
        target = target.astype(str).map(names)
    truth = estimator.truth(target, model.schema)
    verdict = judge(truth, predicted, facts, params.performance, before)
    if verdict.verdict == "insufficient data":
        return verdict
    weeks = weekly(times, truth, predicted, facts, model.schema.classes, params.performance)
    fell = [week for week in weeks if week.dropped and week.week == weeks[-1].week]
    if fell:
        said = ", ".join(f"{w.figure} of {w.label} {w.value:.2f} ({w.expected:.2f})" for w in fell)
        verdict = replace(verdict, verdict="worse", why=f"{verdict.why}; {fell[0].week}: {said}")
    shift = moved(target, model.schema, Profile.read(folder), params.drift)
    why = f"{verdict.why}; {shift}" if shift else verdict.why
    return replace(verdict, weeks=weeks, labels_moved=bool(shift), why=why)


def _ask(source: Path, model: Predictor) -> tuple[np.ndarray, pd.Series, np.ndarray, np.ndarray | None]:
    """Return times, targets, predictions, and what the version before predicts for the same rows."""
    module = project.load("schema")
    frame = check(pd.read_parquet(source), module.SCHEMA, module.MAX_NULL_RATE)
    predicted = model.predict_arrays(columns.from_frame(frame, model.schema.columns))
    no_time = pd.Series(pd.Timestamp(0), index=frame.index)
    times = (frame[module.TIME] if module.TIME else no_time).to_numpy("datetime64[s]").astype(np.float64)
    return times, frame[model.schema.target.name], predicted, _previous(frame, model)


def _previous(frame: pd.DataFrame, model: Predictor) -> np.ndarray | None:
    """Return the predictions of the version that a rollback would go to; None where it cannot be asked."""
    registry = open_registry()
    last = last_move(registry)
    if not (last and last.undo):
        return None
    try:
        other = Predictor(registry.fetch(last.undo[0], PREVIOUS))
        if other.schema.classes != model.schema.classes:
            return None
        return other.predict_arrays(columns.from_frame(frame, other.schema.columns))
    except (RegistryError, KeyError):  # pruned, or it needs a column that is gone
        return None


def joined(folder: Path, labels: Path, hours: float) -> pd.DataFrame:
    """Return the predictions of the last hours that have a label: id, time, label, p0, p1, …"""
    made = predictions.read(folder, time.time() - hours * 3600)
    return made.merge(read_labels(labels), on="id", how="inner", validate="many_to_one")
