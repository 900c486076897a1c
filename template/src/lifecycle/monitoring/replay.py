"""Would the version before have done better? Both predict the newest rows that have labels."""

import tempfile
from pathlib import Path

import pandas as pd

from .. import columns, estimator, project, settings
from ..errors import LifecycleError, failed
from ..registry.contract import Registry, last_move
from ..serving.predictor import Predictor
from ..steps.validate import check


def better_before(registry: Registry) -> bool:
    """Say whether the version that a rollback goes to has the smaller error on the drift check's window.

    What cannot be told (no labels yet, too few rows, other columns) is a no, and is said.
    """
    last = last_move(registry)
    try:
        if not (last and last.undo):
            raise ValueError("none is before it")
        rows = recent(project.load("data").load())
        now, before = (error(registry, version, rows) for version in (last.version, last.undo[0]))
    except (LifecycleError, KeyError, ValueError) as problem:
        failed(f"the version before cannot be compared: {problem}", "nothing: it is not rolled back")
        return False
    return before < now


def recent(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the rows with a label of the last drift.window_hours; ValueError if they are too few to tell."""
    schema, bars = project.load("schema"), settings.load().drift
    frame = frame[frame[schema.TARGET].notna()]
    if schema.TIME:
        oldest = frame[schema.TIME].max() - pd.Timedelta(hours=bars.window_hours)
        frame = frame[frame[schema.TIME] > oldest]
    if not schema.TIME or len(frame) < bars.min_rows:
        raise ValueError(f"{len(frame):,} rows with a label and a time, {bars.min_rows:,} are needed")
    return check(frame, schema.SCHEMA, schema.MAX_NULL_RATE)


def error(registry: Registry, version: str, rows: pd.DataFrame) -> float:
    """Return a version's error (MAE, or log loss) on rows."""
    with tempfile.TemporaryDirectory() as folder:
        predictor = Predictor(registry.fetch(version, Path(folder) / "model"))
        arrays = columns.from_frame(rows, predictor.schema.columns)
        truth = estimator.truth(rows[predictor.schema.target.name], predictor.schema)
        return estimator.error(truth, predictor.predict_arrays(arrays), predictor.schema)
