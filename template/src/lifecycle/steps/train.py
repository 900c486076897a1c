"""train: fit your model on the older rows, export it, and keep the newest rows for the gate."""

import hashlib
import json
import os
import subprocess
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pandas as pd
from sklearn.base import is_classifier

from .. import columns, project, settings
from ..candidate import digest
from ..errors import DataError, LifecycleError
from ..estimator import to_model
from ..monitoring.profile import Profile, importances
from ..project import CANDIDATE, HOLDOUT, LOCK, TRAINING, VALID, write_text
from .ingest import write_parquet


def run() -> str:
    """Write model.onnx, schema.json and profile.json, the hold-out, and what reproduces the training."""
    if not VALID.is_file():
        raise DataError(f"{VALID} is not here", "run: uv run lifecycle ingest, then validate")
    params = settings.load()
    schema = columns.describe(project.load("schema"))
    frame = pd.read_parquet(VALID)
    older, holdout = split(frame, schema.time, params.split.holdout, params.split.seed)
    inputs = to_inputs(older, schema)
    numbers = inputs.select_dtypes("float32").columns.tolist()
    categories = inputs.columns.drop(numbers).tolist()
    classes, labels = _labels(older[schema.target.name], schema.task)
    estimator = project.load("model").build(numbers, categories, dict(params.model))
    if is_classifier(estimator) != (schema.task == "classification"):
        raise LifecycleError(f"schema.py says {schema.task}, but model.py builds another kind")
    estimator.fit(inputs, labels)
    schema = schema.model_copy(update={"inputs": numbers + categories, "classes": classes})
    _write_candidate(estimator, numbers, categories, schema, older, inputs)
    predicted = predict(estimator, to_inputs(holdout, schema))
    write_parquet(holdout.reset_index(drop=True).assign(**_estimates(predicted)), HOLDOUT)
    write_text(TRAINING, columns.to_json(_lineage(older, params.model_dump(), labels, classes)))
    return f"{len(older):,} rows to learn from, {len(holdout):,} newest held out"


def split(
    frame: pd.DataFrame, time: str | None, share: float, seed: int
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Split off the newest share of rows, or a random share where there is no time column."""
    shuffled = frame.sample(frac=1, random_state=seed)
    frame = frame.sort_values(time, kind="stable") if time else shuffled
    held = max(1, round(len(frame) * share))
    if len(frame) - held < 2:
        raise DataError(f"{len(frame)} rows are too few to hold {share:.0%} out")
    return frame.iloc[:-held], frame.iloc[-held:]


def to_inputs(frame: pd.DataFrame, schema: columns.Schema) -> pd.DataFrame:
    """Run features.py: numbers become float32, as ONNX computes, so that training sees the same."""
    return _built(columns.from_frame(frame, schema.columns))


def _built(arrays: columns.Arrays) -> pd.DataFrame:
    built = project.features.build(arrays)
    return pd.DataFrame({k: v if v.dtype.kind in "OUS" else columns.to_float32(v) for k, v in built.items()})


def predict(estimator: Any, inputs: pd.DataFrame) -> np.ndarray:
    """Return predictions [rows], or probabilities [rows, classes]."""
    if is_classifier(estimator):
        return estimator.predict_proba(inputs)
    return np.asarray(estimator.predict(inputs), dtype=np.float64)


def _labels(target: pd.Series, task: str) -> tuple[list[Any], np.ndarray]:
    """Return the classes and the target as class numbers, which every library takes; or as floats."""
    if task == "regression":
        return [], target.to_numpy(dtype=np.float64)
    classes, labels = np.unique(target.to_numpy(dtype=object), return_inverse=True)
    if len(classes) < 2:
        raise DataError(f"the training rows have only one class of {target.name}: {classes[0]}")
    return classes.tolist(), labels


def _estimates(predicted: np.ndarray) -> dict[str, np.ndarray]:
    matrix = predicted.reshape(len(predicted), -1)
    return {f"__estimate_{i}": matrix[:, i] for i in range(matrix.shape[1])}


def _write_candidate(
    estimator: Any,
    numbers: list[str],
    categories: list[str],
    schema: columns.Schema,
    older: pd.DataFrame,
    inputs: pd.DataFrame,
) -> None:
    model = to_model(estimator, numbers, categories)
    arrays, target = columns.from_frame(older, schema.columns), older[schema.target.name]
    labels = target.astype(str).to_numpy(object) if schema.classes else target.to_numpy(np.float64)
    profile = Profile.build(arrays, predict(estimator, inputs), schema, labels)
    for name, share in importances(arrays, lambda some: predict(estimator, _built(some))).items():
        if name in profile.features:
            profile.features[name]["importance"] = share
    CANDIDATE.mkdir(parents=True, exist_ok=True)
    (CANDIDATE / "manifest.json").unlink(missing_ok=True)  # unsealed until evaluate has passed
    (CANDIDATE / "model.onnx").write_bytes(model.SerializeToString())
    write_text(CANDIDATE / "schema.json", columns.to_json(schema.model_dump()))
    write_text(CANDIDATE / "profile.json", columns.to_json(profile.to_dict()))


def _lineage(older: pd.DataFrame, params: dict, labels: np.ndarray, classes: list[Any]) -> dict[str, Any]:
    hashes = pd.util.hash_pandas_object(older, index=False).to_numpy()
    counts = np.bincount(labels) / len(labels) if classes else None
    return {
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "git_commit": _git_commit(),
        "data_hash": hashlib.sha256(hashes.tobytes()).hexdigest(),
        "lock_hash": digest(LOCK) if LOCK.is_file() else "",
        "params": json.loads(json.dumps(params, default=str)),
        "rows": len(older),
        "naive": float(np.median(labels)) if counts is None else counts.tolist(),
    }


def _git_commit() -> str:
    """Return the commit, with "-dirty" when files differ from it; empty outside a repository.

    An image has neither git nor a repository: it is told its commit when it is built.
    """
    if told := os.environ.get("GIT_COMMIT"):
        return told
    command = ["git", "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stdout.strip()
