"""The contract on MLflow's client."""

import hashlib
import logging
import uuid
from collections import defaultdict
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path

from filelock import FileLock
from mlflow import MlflowClient
from mlflow.entities.model_registry import ModelVersion

from .. import project
from ..candidate import Manifest
from ..errors import Conflict, RegistryError
from ..project import fresh_folder
from .contract import Move, Version
from .mlflow import database, follow_move
from .mlflow_history import History, clear_errors
from .mlflow_versions import Versions
from .moves import next_move, nothing_before, prune, wanted

for _name in ("mlflow", "mlflow.utils.environment", "alembic"):
    logging.getLogger(_name).setLevel(logging.ERROR)


class MlflowRegistry:
    """The contract on MLflow's client."""

    def __init__(self, uri: str, name: str = project.NAME) -> None:
        self._uri, self._name = uri, name
        # Two processes that make the tables of a new mlflow.db, or write to it, would trip over each other.
        file = database(uri)
        lock = FileLock(f"{file}.lock", is_singleton=True) if file else nullcontext()
        self._alone: AbstractContextManager[object] = lock
        with self._writing():
            if file:
                follow_move(file)
            self._client = MlflowClient(uri, uri)
            self._client.search_experiments(max_results=1)  # it makes the tables of a new mlflow.db
        self._versions = Versions(self._client, name, uri)
        self._history = History(self._client, name, self._versions.find)
        self._notes = History(self._client, name, self._versions.find, "notes")

    @contextmanager
    def _writing(self) -> Iterator[None]:
        with clear_errors(self._uri), self._alone:
            yield

    def publish(self, folder: Path) -> str:
        with self._writing():
            return self._versions.publish(folder)

    def resolve(self, name: str) -> str:
        return self._find(name)[0]

    def _find(self, name: str) -> tuple[str, ModelVersion, str]:
        """Return a version, where MLflow keeps it, and its manifest's digest where an alias says so."""
        with clear_errors(self._uri):
            last = self._history.last(name) if name.replace("-", "").replace("_", "").isalnum() else None
            version, seal = (last.version, last.manifest_sha256) if last else (name, "")
            stored = self._versions.find(version) if "'" not in version else None
            if stored is None:
                known = ", ".join(self._versions.listing()[0][:5]) or "none"
                raise RegistryError(f"no version or alias {name} in MLflow", f"the newest: {known}")
        return version, stored, seal

    def fetch(self, version: str, to: Path) -> Path:
        _, stored, seal = self._find(version)
        with fresh_folder(to) as folder, clear_errors(self._uri):
            self._versions.fetch(stored, folder, seal)
        return to

    def manifest(self, version: str) -> Manifest:
        _, stored, seal = self._find(version)
        with clear_errors(self._uri):
            return Manifest.model_validate_json(self._versions.seal(stored, seal))

    def versions(self) -> list[Version]:
        names: dict[str, list[str]] = defaultdict(list)
        for alias, version in sorted(self.aliases().items()):
            names[version].append(alias)
        with clear_errors(self._uri):
            return [Version(version, tuple(names[version])) for version in self._versions.listing()[0]]

    def aliases(self) -> dict[str, str]:
        with clear_errors(self._uri):
            return {move.alias: move.version for move in self._history.heads()}

    def history(self, newest: int | None = None) -> list[Move]:
        with clear_errors(self._uri):
            return self._history.all()[-(newest or 0) :]

    def promote(self, version: str, alias: str, by: str, reason: str) -> Move:
        with clear_errors(self._uri):
            last = self._history.last(alias)
        version, stored, _ = self._find(version)
        if last and last.version == version:
            with self._writing():
                self._history.show_in_mlflow(alias)
            return last
        return self._move(next_move("promote", version, alias, last, by, reason), stored)

    def rollback(self, alias: str, by: str, reason: str) -> Move:
        with clear_errors(self._uri):
            last = self._history.last(alias)
        if last is None or not last.undo:
            raise nothing_before(alias)
        version, stored, _ = self._find(last.undo[0])
        return self._move(next_move("rollback", version, alias, last, by, reason), stored)

    def _move(self, move: Move, stored: ModelVersion) -> Move:
        with self._writing(), wanted(self._versions, move):
            seal = hashlib.sha256(self._versions.seal(stored)).hexdigest()
            move = self._history.append(replace(move, manifest_sha256=seal), stored)
            self._history.show_in_mlflow(move.alias)
        return move

    def prune(self, keep: int) -> list[str]:
        with self._writing():
            return prune(self._versions, self._history.heads, keep)

    def note(self, name: str) -> tuple[str, str]:
        with clear_errors(self._uri):
            last = self._notes.last(name)
        return (last.reason, str(last.number)) if last else ("", "")

    def swap_note(self, name: str, text: str, tag: str) -> bool:
        move = Move(0, "note", name, "", "", "", "", text, base=int(tag or 0), id=uuid.uuid4().hex[:12])
        try:
            with self._writing():
                self._notes.append(move, None)
        except Conflict:
            return False
        return True
