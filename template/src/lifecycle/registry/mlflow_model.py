"""What MLflow keeps of a version: a model that its pages and `mlflow models serve` can use, and the run.

The model takes what features.py makes, column by column: {"inputs": {"hour": [[17.0]], …}}.
"""

import shutil
from collections.abc import Iterator
from contextlib import suppress
from datetime import datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import mlflow.onnx
import numpy as np
import onnx
from mlflow import MlflowClient
from mlflow.entities import Metric, Param, RunTag
from mlflow.exceptions import MlflowException
from mlflow.models import ModelSignature
from mlflow.types import Schema, TensorSpec
from onnx import TensorProto, ValueInfoProto

from .. import project
from ..candidate import FILES, MANIFEST, Manifest
from ..columns import Schema as Columns
from ..columns import from_rows

NEEDS = ("mlflow", "numpy", "onnx", "onnxruntime", "pandas")


def save(folder: Path, manifest: Manifest, to: Path) -> None:
    """Write the candidate as an MLflow model of the flavour onnx; its own files stay as they are."""
    model = onnx.load_model(folder / "model.onnx")
    signature = ModelSignature(
        Schema([_spec(item) for item in model.graph.input]),
        Schema([_spec(item) for item in model.graph.output]),
    )
    mlflow.onnx.save_model(
        model,
        str(to),
        signature=signature,
        input_example=_example(Columns.read(folder), manifest.fixture),
        pip_requirements=[f"{name}=={_installed(name)}" for name in NEEDS],  # inferring them takes 8 s
        onnx_execution_providers=["CPUExecutionProvider"],
        save_as_external_data=False,
    )
    for name in (*FILES, MANIFEST):
        shutil.copy(folder / name, to / name)


def _installed(name: str) -> str:
    return version("mlflow-skinny" if name == "mlflow" else name)


def _spec(item: ValueInfoProto) -> TensorSpec:
    tensor = item.type.tensor_type
    kinds: dict[int, str] = {TensorProto.INT64: "int64", TensorProto.STRING: "str"}
    shape = tuple(size.dim_value or -1 for size in tensor.shape.dim)
    return TensorSpec(np.dtype(kinds.get(tensor.elem_type, "float32")), shape or (-1,), item.name)


def _example(schema: Columns, fixture: dict[str, Any]) -> dict[str, np.ndarray] | None:
    if not fixture:
        return None
    built = project.features.build(from_rows([fixture["row"]], schema.columns))
    example = {}
    for name in schema.inputs:
        text = built[name].dtype.kind in "OUS"
        example[name] = built[name].astype(object if text else np.float32).reshape(-1, 1)
    return example


def experiment(client: MlflowClient, name: str, location: str | None) -> str:
    """Return the id of a model's experiment; one that is made keeps its artifacts at location."""
    found = client.get_experiment_by_name(name)
    if not found:
        with suppress(MlflowException):  # somebody else has just made it
            client.create_experiment(name, artifact_location=location)
        found = client.get_experiment_by_name(name)
    if not found:
        raise MlflowException(f"there is no experiment {name}, and none can be made: was it deleted?")
    return found.experiment_id


def log(client: MlflowClient, run: str, manifest: Manifest) -> None:
    """Write what MLflow's page of the run shows: metrics, params, and tags for the lineage."""
    at = int(datetime.fromisoformat(manifest.created).timestamp() * 1000)
    numbers = {key: value for key, value in manifest.metrics.items() if isinstance(value, int | float)}
    client.log_batch(
        run,
        metrics=[Metric(key, float(value), at, 0) for key, value in numbers.items()],
        params=[Param(key, str(value)) for key, value in _flat(manifest.params)],
        tags=[RunTag(key, getattr(manifest, key)) for key in ("git_commit", "data_hash", "lock_hash")],
    )


def _flat(values: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in values.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value
