"""Immutable versions in MLflow: a registered model version each, with the candidate's files in its run.

MLflow only counts: the tag lifecycle.version holds a version's name, another one its manifest's digest.
"""

import hashlib
import time
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory

import mlflow.artifacts
from mlflow import MlflowClient
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException
from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

from .. import candidate
from ..candidate import FILES, MANIFEST
from ..errors import DigestMismatch
from . import mlflow_model
from .mlflow import artifacts, database
from .mlflow_history import create_version
from .moves import PRUNING, refuse_doomed

TAG = "lifecycle."
ID, SEAL = TAG + "version", TAG + "manifest_sha256"
NEXT = "take another version, and find out who changed it"


class Versions:
    """The versions of one registered model."""

    def __init__(self, client: MlflowClient, name: str, uri: str) -> None:
        self._client, self._name, self._uri = client, name, uri
        self._numbers: dict[str, str] = {}

    def publish(self, folder: Path) -> str:
        manifest = candidate.verify(folder)
        seal = hashlib.sha256((folder / MANIFEST).read_bytes()).hexdigest()
        if self.find(manifest.version):
            refuse_doomed(self, manifest.version)
            return manifest.version
        with TemporaryDirectory() as scratch:
            mlflow_model.save(folder, manifest, Path(scratch, "model"))
            file = database(self._uri)
            local = artifacts(file) if file else None
            experiment = mlflow_model.experiment(self._client, self._name, local)
            run = self._client.create_run(experiment, run_name=manifest.version).info
            mlflow_model.log(self._client, run.run_id, manifest)
            self._client.log_artifacts(run.run_id, scratch)
        self._client.set_terminated(run.run_id)
        if not self._client.search_model_versions(f"name = '{self._name}'", 1):
            with suppress(MlflowException):  # somebody else has just made it
                self._client.create_registered_model(self._name)
        # Last, because a run without a version is not seen by anybody.
        source, tags = f"{run.artifact_uri}/model", {ID: manifest.version, SEAL: seal}
        number = create_version(self._client, self._name, source, tags, run.run_id)
        first = self.find(manifest.version)
        if first and str(first.version) != str(number):  # somebody published the same a moment before
            self._client.delete_model_version(self._name, number)
        return manifest.version

    def find(self, version: str) -> ModelVersion | None:
        """Return MLflow's entry: by its number once that is known, because a search looks at all."""
        with suppress(KeyError, MlflowException):  # not known yet; pruned
            stored = self._client.get_model_version(self._name, self._numbers[version])
            if stored.tags.get(ID) == version:
                return stored
        query = f"name = '{self._name}' and tags.`{ID}` = '{version}'"
        for stored in self._client.search_model_versions(query, 1, ["version_number ASC"]):
            self._numbers[version] = stored.version
            return stored
        return None

    def listing(self) -> tuple[list[str], set[str]]:
        visible, begun, token = set(), set(), None
        while token != "":
            page = self._client.search_model_versions(f"name = '{self._name}'", 1000, page_token=token)
            for item in page:
                if ID in item.tags:
                    visible.add(item.tags[ID])
                if any(tag.startswith(TAG + PRUNING) for tag in item.tags):
                    begun.add(item.tags[ID])
            token = page.token or ""
        return sorted(visible, reverse=True), begun

    def seal(self, stored: ModelVersion, digest: str = "") -> bytes:
        """Return a version's manifest.json as it was published, and promoted where a digest is given."""
        with TemporaryDirectory() as scratch:
            self._download(stored, (MANIFEST,), Path(scratch))
            path = Path(scratch, MANIFEST)
            if not path.is_file():
                raise DigestMismatch(f"{self._place(stored)}/{MANIFEST} is missing", NEXT)
            seal = path.read_bytes()
        actual = hashlib.sha256(seal).hexdigest()
        if {digest, stored.tags.get(SEAL, "")} - {"", actual}:
            told = f"{self._place(stored)}/{MANIFEST} is not the file that was published as {stored.tags[ID]}"
            raise DigestMismatch(told, NEXT)
        return seal

    def fetch(self, stored: ModelVersion, folder: Path, digest: str = "") -> None:
        """Fill an empty folder with a version's files, and check them."""
        (folder / MANIFEST).write_bytes(self.seal(stored, digest))
        self._download(stored, FILES, folder)
        try:
            inside = candidate.verify(folder).version
        except DigestMismatch as error:
            raise DigestMismatch(str(error).replace(str(folder), self._place(stored)), NEXT) from error
        if inside != stored.tags[ID]:
            raise DigestMismatch(f"{self._place(stored)} holds another version, {inside}", NEXT)

    def _place(self, stored: ModelVersion) -> str:
        return f"{self._uri}: {stored.source}"

    def _download(self, stored: ModelVersion, names: tuple[str, ...], folder: Path) -> None:
        """Copy those files that are there."""
        uri = str(stored.source)
        there = mlflow.artifacts.list_artifacts(artifact_uri=uri, tracking_uri=self._uri)
        for name in {Path(item.path).name for item in there} & set(names):
            mlflow.artifacts.download_artifacts(f"{uri}/{name}", None, None, str(folder), self._uri)

    # A promoter's mark is a tag of the run: MLflow takes longer over a model's, the more versions it has.
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

    def remove(self, version: str) -> None:
        """Delete a version; MLflow's entry with the mark goes last, and holds promoters off until then."""
        while stored := self.find(version):
            repository = get_artifact_repository(str(stored.source), tracking_uri=self._uri)
            with suppress(FileNotFoundError, NotImplementedError):
                repository.delete_artifacts()
            if stored.run_id:
                self._client.delete_run(stored.run_id)
            self._client.delete_model_version(self._name, stored.version)
