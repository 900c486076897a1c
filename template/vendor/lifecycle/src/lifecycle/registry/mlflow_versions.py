"""Immutable versions in MLflow: each is a version of one registered model, with its files in a run.

MLflow numbers them; the tag lifecycle.version holds our name, another the digest of the manifest. The model
that MLflow's pages and `mlflow models serve` use takes what features.py makes:
{"inputs": {"hour": [[17.0]], …}}.
"""

import logging
import random
import shutil
import time
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from datetime import datetime
from importlib.metadata import version as installed
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import mlflow.artifacts
import numpy as np
from filelock import FileLock
from mlflow import MlflowClient
from mlflow.entities import Metric, Param, RunTag
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException
from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository
from sqlalchemy.exc import SQLAlchemyError

from ..data.arrays import from_rows, model_input
from ..data.schema import Schema
from ..errors import RegistryError
from ..model.package import FILES, MANIFEST, Manifest
from ..project import Project
from .base import Registry, sha256
from .transitions import PRUNING

TAG = "lifecycle."
ID, SEAL = TAG + "version", TAG + "manifest_sha256"
ATTEMPTS = 8
NEEDS = {"mlflow": "mlflow-skinny"} | {name: name for name in ("numpy", "onnx", "onnxruntime", "pandas")}
for _name in ("mlflow", "mlflow.utils.environment", "alembic"):
    logging.getLogger(_name).setLevel(logging.ERROR)


class Versions(Registry):
    """The half of the registry that keeps versions."""

    def __init__(self, project: Project, uri: str, folder: Path | None = None) -> None:
        """folder: of the artifacts beside an embedded database; None for a server."""
        self._project, self._name, self._uri = project, project.name, uri
        self._history = f"{project.name}.history"  # the model whose versions are the moves
        self._local = folder.as_uri() if folder else ""
        self._numbers: dict[str, str] = {}
        self.place = f"MLflow at {uri}"
        # Two processes that make the tables of a new mlflow.db, or write to it, would hinder each other.
        self._lock: AbstractContextManager[object] = nullcontext()
        if folder:
            self._lock = FileLock(folder.with_name("mlflow.db.lock"), is_singleton=True)
        with self.writing():
            self._client = MlflowClient(uri, uri)
            self._client.search_experiments(max_results=1)  # it makes the tables of a new mlflow.db

    @contextmanager
    def errors(self) -> Iterator[None]:
        """Turn what MLflow raises into a RegistryError that says what to check."""
        try:
            yield
        except (MlflowException, SQLAlchemyError, OSError) as error:
            text = str(error.message if isinstance(error, MlflowException) else error).strip()
            advice = "check MLFLOW_TRACKING_URI, and that the server is up"
            if "code 401" in text or "code 403" in text:
                advice = "check MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD"
            elif self._local:
                advice = "check that the disk has room and that you may write there"
            raise RegistryError(f"{self.place}: {text.splitlines()[0][:300]}", advice) from error

    @contextmanager
    def writing(self) -> Iterator[None]:
        with self.errors(), self._lock:
            yield

    def write(self, folder: Path, manifest: Manifest) -> None:
        version, seal = manifest.version, sha256((folder / MANIFEST).read_bytes())
        with TemporaryDirectory() as scratch:
            _save(self._project, folder, manifest, Path(scratch, "model"))
            run = self._client.create_run(self._experiment(), run_name=version).info
            _log(self._client, run.run_id, manifest)
            self._client.log_artifacts(run.run_id, scratch)
        self._client.set_terminated(run.run_id)
        with suppress(MlflowException):  # it is there already
            self._client.create_registered_model(self._name)
        # Last, because nobody sees a run without a version.
        tags = {ID: version, SEAL: seal}
        number = self.create(self._name, f"{run.artifact_uri}/model", run.run_id, tags)
        first = self.find(version)
        if first and str(first.version) != str(number):  # somebody published the same a moment before
            self._client.delete_model_version(self._name, number)

    def create(self, model: str, source: str, run: str | None, tags: dict[str, str]) -> str:
        """Create a version of a model and return its number, also while others are creating versions."""
        for attempt in range(ATTEMPTS):
            try:
                return self._client.create_model_version(model, source, run, tags=tags).version
            except MlflowException as error:
                if "Giving up" not in error.message or attempt == ATTEMPTS - 1:
                    raise
                time.sleep(random.uniform(0, 0.1 * 2**attempt))
        raise AssertionError("the loop returns or raises")

    def _experiment(self) -> str:
        """Return the id of an experiment that keeps its artifacts here.

        MLflow makes addresses absolute and keeps them for good. A project that was moved or copied therefore
        gets an experiment of its own, so that it does not write into the folder that it came from.
        """
        names = (self._name, f"{self._name} in {self._local}") if self._local else (self._name,)
        for name in names:
            if not (found := self._client.get_experiment_by_name(name)):
                with suppress(MlflowException):  # somebody else has just made it
                    self._client.create_experiment(name, artifact_location=self._local or None)
                found = self._client.get_experiment_by_name(name)
            if found and self._local in ("", found.artifact_location):
                return found.experiment_id
        raise MlflowException(f"there is no experiment {names[-1]}, and none can be made: was it deleted?")

    def find(self, version: str) -> ModelVersion | None:
        """Return MLflow's entry: by its number once that is known, because a search reads all."""
        with suppress(KeyError, MlflowException):  # not known yet; pruned
            stored = self._client.get_model_version(self._name, self._numbers[version])
            if stored.tags.get(ID) == version:
                return stored
        query = f"name = '{self._name}' and tags.`{ID}` = '{version}'"
        for stored in self._client.search_model_versions(query, 1, ["version_number ASC"]):
            self._numbers[version] = stored.version
            return stored
        return None

    def _address(self, stored: ModelVersion) -> str:
        """Return where a version's files are now: beside mlflow.db, also when both were moved or copied."""
        before, found, path = str(stored.source).rpartition("/mlartifacts/")
        return f"{self._local}/{path}" if self._local and found else f"{before}{found}{path}"

    def read(self, version: str, names: Iterable[str] = ()) -> tuple[dict[str, bytes], set[str]] | None:
        with self.errors(), TemporaryDirectory() as scratch:
            if not (stored := self.find(version)):
                return None
            files: dict[str, bytes] = {}
            if asked := set(names):
                uri, tracking = self._address(stored), self._uri
                there = mlflow.artifacts.list_artifacts(artifact_uri=uri, tracking_uri=tracking)
                for name in {Path(item.path).name for item in there} & asked:
                    mlflow.artifacts.download_artifacts(f"{uri}/{name}", None, None, scratch, tracking)
                    files[name] = Path(scratch, name).read_bytes()
            return files, {stored.tags.get(SEAL, "")}

    def search(self, query: str, size: int, order: str) -> Iterator[ModelVersion]:
        """Yield the versions of models, so many a request."""
        token = None
        while token != "":
            page = self._client.search_model_versions(query, size, [order], token)
            yield from page
            token = page.token or ""

    def listing(self) -> tuple[list[str], set[str]]:
        with self.errors():
            found = self.search(f"name = '{self._name}'", 1000, "version_number DESC")
            tags = [item.tags for item in found if ID in item.tags]
        begun = {each[ID] for each in tags if any(tag.startswith(TAG + PRUNING) for tag in each)}
        return list(dict.fromkeys(each[ID] for each in tags)), begun  # by MLflow's number, not by any clock

    def remove(self, version: str) -> None:
        while stored := self.find(version):
            repository = get_artifact_repository(self._address(stored), tracking_uri=self._uri)
            with suppress(FileNotFoundError, NotImplementedError):
                repository.delete_artifacts()
            if stored.run_id:
                self._client.delete_run(stored.run_id)
            # With it go the marks, which keep promotions away until then.
            self._client.delete_model_version(self._name, stored.version)

    # A promotion's mark is a tag of the run: MLflow takes longer over a model's, the more versions it has.
    def mark(self, version: str, mark: str) -> None:
        if (stored := self.find(version)) and mark.startswith(PRUNING):
            self._client.set_model_version_tag(self._name, stored.version, TAG + mark, str(time.time()))
        elif stored:
            self._client.set_tag(str(stored.run_id), TAG + mark, str(time.time()))

    def unmark(self, version: str, mark: str) -> None:
        if (stored := self.find(version)) and mark.startswith(PRUNING):
            self._client.delete_model_version_tag(self._name, stored.version, TAG + mark)
        elif stored:
            self._client.delete_tag(str(stored.run_id), TAG + mark)

    def marks(self, version: str, kind: str) -> dict[str, float]:
        if not (stored := self.find(version)):
            return {}
        tags = stored.tags if kind == PRUNING else self._client.get_run(str(stored.run_id)).data.tags
        return {tag.removeprefix(TAG): float(at) for tag, at in tags.items() if tag.startswith(TAG + kind)}


def _save(project: Project, folder: Path, manifest: Manifest, to: Path) -> None:
    """Write the candidate as an MLflow model of the flavour onnx; its own files stay as they are."""
    import mlflow.onnx  # what only reads or promotes needs neither ONNX nor pandas
    import onnx
    from mlflow.models import ModelSignature
    from mlflow.types import Schema as Tensors
    from mlflow.types import TensorSpec

    def tensor(item: Any) -> TensorSpec:
        kind = onnx.helper.tensor_dtype_to_np_dtype(item.type.tensor_type.elem_type)
        shape = tuple(size.dim_value or -1 for size in item.type.tensor_type.shape.dim)
        return TensorSpec(np.dtype("str") if kind.kind == "O" else kind, shape or (-1,), item.name)

    model, schema, example = onnx.load_model(folder / "model.onnx"), Schema.read(folder), None
    if manifest.fixture:
        built = project.features.build(from_rows([manifest.fixture["row"]], schema.columns))
        example = {name: model_input(built[name]) for name in schema.inputs}
    sides = [Tensors([tensor(item) for item in items]) for items in (model.graph.input, model.graph.output)]
    mlflow.onnx.save_model(
        model,
        str(to),
        signature=ModelSignature(inputs=sides[0], outputs=sides[1]),
        input_example=example,
        pip_requirements=[f"{name}=={installed(of)}" for name, of in NEEDS.items()],  # inferring takes 8 s
        onnx_execution_providers=["CPUExecutionProvider"],
        save_as_external_data=False,
    )
    for name in (*FILES, MANIFEST):
        shutil.copy(folder / name, to / name)


def _log(client: MlflowClient, run: str, manifest: Manifest) -> None:
    """Write what MLflow's page of a run shows: metrics, params, and tags for the lineage."""
    import pandas as pd

    at = int(datetime.fromisoformat(manifest.created).timestamp() * 1000)
    numbers = {key: value for key, value in manifest.metrics.items() if isinstance(value, int | float)}
    metrics = [Metric(key, float(value), at, 0) for key, value in numbers.items()]
    flat = pd.json_normalize(manifest.params).to_dict("records")[0]
    params = [Param(str(key), str(value)) for key, value in flat.items()]
    tags = [RunTag(key, getattr(manifest, key)) for key in ("git_commit", "data_hash", "lock_hash")]
    client.log_batch(run, metrics, params, tags)
