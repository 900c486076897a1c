"""MLflow as the registry: embedded in mlflow.db, or a server named by MLFLOW_TRACKING_URI."""

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

import mlflow.artifacts
from filelock import FileLock
from mlflow import MlflowClient
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException

from .. import candidate, project
from ..errors import RegistryError
from ..paths import fresh_folder
from . import mlflow_history as log
from .contract import Move, Registry, Version, before, current, effective

ID = "lifecycle.version"
logging.getLogger("mlflow").setLevel(logging.WARNING)
logging.getLogger("alembic").setLevel(logging.WARNING)


def open_registry() -> Registry:
    """Open the registry that MLFLOW_TRACKING_URI names, or the one in this folder."""
    return MlflowRegistry(os.environ.get("MLFLOW_TRACKING_URI") or embedded())


def embedded() -> str:
    """Return the address of mlflow.db in this folder, whole: MLflow keeps connections by address."""
    return f"sqlite:///{Path('mlflow.db').absolute().as_posix()}"


class MlflowRegistry:
    """The contract on MLflow's client."""

    def __init__(self, uri: str) -> None:
        self._uri = uri
        # Two processes that both make the tables of a new mlflow.db would trip over each other.
        alone = FileLock("mlflow.db.lock") if uri == embedded() else nullcontext()
        with alone, self._clear_errors():
            self._client = MlflowClient(uri, uri)
            known = {model.name for model in self._client.search_registered_models()}
            for name, text in ((project.NAME, ""), (log.HISTORY, log.DESCRIPTION)):
                if name not in known:
                    self._client.create_registered_model(name, description=text)

    @contextmanager
    def _clear_errors(self) -> Iterator[None]:
        try:
            yield
        except (MlflowException, OSError) as error:
            message = error.message if isinstance(error, MlflowException) else error
            raise RegistryError(
                f"MLflow at {self._uri}: {message}", "check MLFLOW_TRACKING_URI, and that it is up"
            ) from error

    def publish(self, folder: Path) -> str:
        manifest = candidate.verify(folder)
        with self._clear_errors():
            if self._find(manifest.version):
                return manifest.version
            run = self._client.create_run(self._experiment(), run_name=manifest.version).info
            for key, value in manifest.params.items():
                self._client.log_param(run.run_id, key, value)
            for key, value in manifest.metrics.items():
                if isinstance(value, float):
                    self._client.log_metric(run.run_id, key, value)
            for key in ("git_commit", "data_hash", "lock_hash"):
                self._client.set_tag(run.run_id, key, getattr(manifest, key))
            self._client.log_artifacts(run.run_id, str(folder), "candidate")
            self._client.set_terminated(run.run_id)
            # Last, because a run without a version is not seen by anybody.
            source, tags = f"{run.artifact_uri}/candidate", {ID: manifest.version}
            self._client.create_model_version(project.NAME, source, run.run_id, tags=tags)
        return manifest.version

    def _experiment(self) -> str:
        found = self._client.get_experiment_by_name(project.NAME)
        if found:
            return found.experiment_id
        local = Path("mlartifacts").absolute().as_uri() if self._uri == embedded() else None
        return self._client.create_experiment(project.NAME, artifact_location=local)

    def _find(self, version: str) -> ModelVersion | None:
        query = f"name = '{project.NAME}' and tags.`{ID}` = '{version}'"
        return next(iter(self._client.search_model_versions(query, max_results=1)), None)

    def _get(self, name: str) -> tuple[str, ModelVersion]:
        """Return a version, or what an alias points at, with where MLflow keeps it."""
        version = self.aliases().get(name, name)
        with self._clear_errors():
            stored = self._find(version)
        if stored is None:
            known = ", ".join(item.version for item in self.versions()[:5]) or "none"
            raise RegistryError(f"no version or alias {name} in the registry", f"the newest: {known}")
        return version, stored

    def resolve(self, name: str) -> str:
        return self._get(name)[0]

    def fetch(self, version: str, to: Path) -> Path:
        version, stored = self._get(version)
        with fresh_folder(to) as folder:
            with self._clear_errors():
                copied = mlflow.artifacts.download_artifacts(
                    artifact_uri=stored.source, dst_path=str(folder.parent), tracking_uri=self._uri
                )
            for file in Path(copied).iterdir():
                file.rename(folder / file.name)
            if candidate.verify(folder).version != version:
                raise RegistryError(f"what is stored as {version} is another version")
        return to

    def versions(self) -> list[Version]:
        names: dict[str, list[str]] = {}
        for alias, version in self.aliases().items():
            names.setdefault(version, []).append(alias)
        with self._clear_errors():
            stored = self._client.search_model_versions(f"name = '{project.NAME}'")
        ids = sorted({item.tags[ID] for item in stored if ID in item.tags}, reverse=True)
        return [Version(key, tuple(sorted(names.get(key, ())))) for key in ids]

    def aliases(self) -> dict[str, str]:
        return {alias: move.version for alias, move in current(self._moves()).items()}

    def history(self) -> list[Move]:
        return effective(self._moves())

    def _moves(self) -> list[Move]:
        with self._clear_errors():
            return log.read(self._client)

    def promote(self, version: str, alias: str, by: str, reason: str) -> Move:
        last = current(self._moves()).get(alias)
        version, stored = self._get(version)
        if last and last.version == version:
            return last
        return self._move("promote", alias, version, stored, last, (by, reason))

    def rollback(self, alias: str, by: str, reason: str) -> Move:
        moves = self._moves()
        previous = before(moves, alias)
        if not previous:
            raise RegistryError(f"there is no version before {alias}'s to roll back to")
        version, stored = self._get(previous)
        return self._move("rollback", alias, version, stored, current(moves)[alias], (by, reason))

    def _move(
        self, action: str, alias: str, version: str, stored: ModelVersion, last: Move | None, why: tuple
    ) -> Move:
        with self._clear_errors():
            move = log.append(self._client, action, alias, (version, str(stored.source)), last, why)
            # MLflow's own alias, for its pages and for other tools.
            self._client.set_registered_model_alias(project.NAME, alias, stored.version)
        return move
