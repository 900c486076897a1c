"""The candidate as `train` writes it and `evaluate` seals it, and the hold-out that goes with it."""

import json
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from onnx import ModelProto

from ..data.schema import Schema
from ..files import to_json, write_parquet, write_text
from ..model import package
from ..model.predictor import Predictor

EXAMPLES = 21  # rows in the manifest: one for health, twenty for a release


def write(
    folder: Path, model: ModelProto, schema: Schema, profile: dict[str, Any], importance: dict[str, float]
) -> None:
    """Write a candidate's files: the model, and its schema and profile. `evaluate` seals them."""
    for name in importance.keys() & profile["features"].keys():
        profile["features"][name]["importance"] = importance[name]
    package.unseal(folder)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "model.onnx").write_bytes(model.SerializeToString())
    write_text(folder / "schema.json", to_json(schema.model_dump()))
    write_text(folder / "profile.json", to_json(profile))


def write_holdout(path: Path, holdout: pd.DataFrame, predicted: np.ndarray) -> None:
    """Keep the hold-out, with the estimator's predictions: [rows], or [rows, classes]."""
    matrix = predicted.reshape(len(predicted), -1)
    estimates = {f"__estimate_{i}": matrix[:, i] for i in range(matrix.shape[1])}
    write_parquet(holdout.reset_index(drop=True).assign(**estimates), path)


def estimates(holdout: pd.DataFrame) -> np.ndarray:
    """Return the estimator's predictions that write_holdout has kept: [rows, 1], or [rows, classes]."""
    return holdout[[name for name in holdout if str(name).startswith("__estimate_")]].to_numpy()


def seal(
    predictor: Predictor, holdout: pd.DataFrame, training: dict[str, Any], facts: dict[str, Any]
) -> package.Manifest:
    """Make the candidate a version. training: training.json; facts: what the gate measured."""
    names = [column.name for column in predictor.schema.columns]
    complete = holdout.dropna(subset=names)
    rows = (complete if len(complete) else holdout)[names]
    chosen = rows.iloc[np.unique(np.linspace(0, len(rows) - 1, EXAMPLES).astype(int))]
    requests = json.loads(chosen.to_json(orient="records", date_format="iso"))
    pairs = [{"row": row, "prediction": predictor.predict([row])[0]} for row in requests]
    lineage = {key: training[key] for key in ("git_commit", "data_hash", "lock_hash", "params")}
    parts = {"metrics": facts, "fixture": pairs[-1], "smoke": pairs[:-1], **lineage}
    return package.seal(predictor.folder, datetime.fromisoformat(training["created"]), **parts)
