"""What the suites need: candidates, places to open registries at, processes that die or race.

A suite is run by a test module that has a fixture `place`: tests/lifecycle on a folder and on MLflow's
embedded database, tests/test_registry.py on an MLflow server and on an S3 server.
"""

import json
import multiprocessing
import os
import shutil
import signal
import sys
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from multiprocessing import forkserver
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from lifecycle.errors import RegistryError
from lifecycle.model import package
from lifecycle.project import Project
from lifecycle.registry import mlflow as mlflow_registry
from lifecycle.registry.base import Registry, open_registry
from onnx import TensorProto, helper

SCHEMA = {"task": "regression", "target": {"name": "y", "kind": "number"}, "time": None, "columns": []}
START = datetime(2026, 1, 1, tzinfo=UTC)
PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload(["registry.preload"])  # here once, rather than in every process of a test
VARIABLES = ("MLFLOW_TRACKING_URI", "REGISTRY_URI", "STATE_URI", "WINDOWS_BUCKET")
FOLDER, SQLITE, SERVER, CEPH = "folder", "mlflow-sqlite", "mlflow-server", "s3-ceph"


def make_candidate(folder: Path, number: int = 0, padding: int = 0) -> Path:
    """Make a sealed candidate; another number is another version, a day younger. padding: in bytes."""
    folder.mkdir(parents=True)
    node = helper.make_node("Identity", ["x"], ["y"], f"number {number}")
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, [None, 1]) for name in "xy")
    model = helper.make_model(helper.make_graph([node], "g", [x], [y]))
    (folder / "model.onnx").write_bytes(model.SerializeToString())
    (folder / "schema.json").write_text(json.dumps(SCHEMA))
    (folder / "profile.json").write_text(json.dumps({"number": number, "padding": "0" * padding}))
    package.seal(
        folder,
        START + timedelta(days=number),
        git_commit="c0ffee",
        data_hash="da7a",
        lock_hash="10cc",
        params={"model": {"max_iter": 10}},
        metrics={"error": 1.5, "metric": "MAE"},
        fixture={},
    )
    return folder


@dataclass(frozen=True)
class Place:
    """One registry of one test: opened anew, as a new process would, or damaged behind its back.

    files: the folder in which an MLflow server keeps artifacts.
    """

    kind: str
    project: Project
    env: dict[str, str] = field(default_factory=dict)
    files: Path = Path()

    @property
    def is_mlflow(self) -> bool:
        return self.kind in (SQLITE, SERVER)

    @property
    def stride(self) -> int:
        """A kill or an interruption at each call takes minutes over HTTP: there only at every third."""
        return 3 if self.kind == SERVER else 1

    def open(self) -> Any:
        for name in VARIABLES:
            os.environ.pop(name, None)
        os.environ.update(self.env)
        return open_registry(self.project)

    def change(self, version: str, name: str, to: Callable[[bytes], bytes | None]) -> None:
        """Change a file of a version behind the registry's back; None deletes it."""
        if self.kind == CEPH:
            store, key = self.open()._store, f"models/{version}/{name}"
            data = to(store.read(key)[0])
            store.delete(key)
            assert data is None or store.swap(key, data)
            return
        if self.kind == SERVER:
            source = self.open().find(version).source.removeprefix("mlflow-artifacts:/")
            path = Path(self.files, source, name)
        else:
            found = self.project.root.rglob("manifest.json")
            path = next(path for path in found if version in path.read_text()).with_name(name)
        data = to(path.read_bytes())
        path.unlink() if data is None else path.write_bytes(data)


@pytest.fixture(scope="session")
def empty_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A new mlflow.db: making its tables takes seconds, copying it takes none."""
    folder = tmp_path_factory.mktemp("empty")
    with mock.patch.dict(os.environ):
        Place(SQLITE, Project("churn", "churn", "mlflow", "docker", folder)).open()
    return folder / "mlflow.db"


def make_place(kind: str, folder: Path, database: Path | None = None, **more: Any) -> Place:
    """Return an empty registry, of a project in a folder that is made; more: of a Place."""
    folder.mkdir()
    if database:
        shutil.copy(database, folder)
    answer = "mlflow" if kind in (SQLITE, SERVER) else "s3"
    return Place(kind, Project(f"churn-{uuid.uuid4().hex[:8]}", "churn", answer, "docker", folder), **more)


@pytest.fixture(params=[FOLDER, SQLITE])
def embedded_place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    """An empty registry that needs no server: a module's `place`, besides its `empty_database`."""
    database = request.getfixturevalue("empty_database") if request.param == SQLITE else None
    return make_place(request.param, tmp_path / "project", database)


@pytest.fixture
def versions(place: Place, tmp_path: Path) -> list[str]:
    """Three published versions, the oldest first."""
    registry = place.open()
    return [registry.publish(make_candidate(tmp_path / f"c{number}", number)) for number in range(3)]


def publish(registry: Registry, folder: Path) -> str:
    return registry.publish(folder)


def promote(registry: Registry, version: str, by: str = "Ada") -> Any:
    return registry.promote(version, "production", by, "better")


def rollback(registry: Registry, by: str = "Ada") -> Any:
    return registry.rollback("production", by, "worse")


class Hooked:
    """A store or a client that calls before(name) ahead of each of its methods."""

    def __init__(self, inner: Any, before: Callable[[str], None]) -> None:
        self._inner, self._before = inner, before

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._inner, name)
        if not callable(value):
            return value

        def call(*words: Any, **named: Any) -> Any:
            self._before(name)
            return value(*words, **named)

        return call


def hook(registry: Any, before: Callable[[str], None]) -> Any:
    """Let before(name) run ahead of every call to the store behind a registry."""
    attribute = "_client" if hasattr(registry, "_client") else "_store"
    setattr(registry, attribute, Hooked(getattr(registry, attribute), before))
    return registry


def count_calls(place: Place, act: Callable[[Registry], Any]) -> int:
    calls: list[str] = []
    act(hook(place.open(), calls.append))
    return len(calls)


def start(target: Callable[..., None], *words: Any) -> Any:
    """Start a process that has imported what every registry needs, but has opened none."""
    with mock.patch.dict(os.environ, PYTHONPATH=os.pathsep.join(sys.path)):
        forkserver.ensure_running()
    process = PROCESSES.Process(target=target, args=words)
    process.start()
    return process


def run_and_kill(place: Place, act: Callable[..., Any], words: tuple, call: int) -> bool:
    """Run act(registry, *words) in a process that dies by kill -9 ahead of its nth call to the store.

    Returns whether it was killed, and not done before.
    """
    process = start(_dying, place, act, words, call)
    process.join(60)
    assert process.exitcode in (0, -signal.SIGKILL), process.exitcode
    return process.exitcode != 0


def _dying(place: Place, act: Callable[..., Any], words: tuple, call: int) -> None:
    left = [call]

    def before(name: str) -> None:
        left[0] -= 1
        if not left[0]:
            os.kill(os.getpid(), signal.SIGKILL)

    act(hook(place.open(), before), *words)


def run_together(place: Place, act: Callable[..., Any], each: list[tuple]) -> list[Any]:
    """Run act(registry, *words) in one process each, all at once; return what each returned or raised."""
    queue, barrier = PROCESSES.Queue(), PROCESSES.Barrier(len(each))
    processes = [start(_racing, place, act, words, barrier, queue) for words in each]
    results = [queue.get(timeout=60) for _ in each]
    for process in processes:
        process.join(60)
    return results


def _racing(place: Place, act: Callable[..., Any], words: tuple, barrier: Any, queue: Any) -> None:
    try:
        registry: Any = place.open()
        move = registry._move

        def together(*given: Any) -> Any:
            barrier.wait(30)  # everybody has read what they are about to change
            return move(*given)

        registry._move = together
        if act is publish:
            barrier.wait(30)
        queue.put(act(registry, *words))
    except Exception as error:
        queue.put(error if len(error.args) < 2 else RuntimeError(repr(error)))


class Turns:
    """Lets two threads call their stores in the turns given: [(who, how many calls), …]."""

    def __init__(self, turns: list[tuple[str, int]]) -> None:
        self._turns = [list(turn) for turn in turns]
        self._changed = threading.Condition()

    def run(self, acts: dict[str, Callable[[Any], Any]], registries: dict[str, Any]) -> dict[str, Any]:
        """Run each act on its registry; return what those returned that did not raise RegistryError."""
        results: dict[str, Any] = {}

        def run(who: str) -> None:
            registry = hook(registries[who], lambda name: self._wait(who))
            try:
                with suppress(RegistryError):
                    results[who] = acts[who](registry)
            finally:
                with self._changed:
                    self._turns = [turn for turn in self._turns if turn[0] != who]
                    self._changed.notify_all()

        threads = [threading.Thread(target=run, args=(who,)) for who in acts]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        return results

    def _wait(self, who: str) -> None:
        with self._changed:
            if self._turns[0] == [who, 0]:
                self._turns.pop(0)
                self._changed.notify_all()
            assert self._changed.wait_for(lambda: self._turns[0][0] == who, 30)
            self._turns[0][1] -= 1


@pytest.fixture(autouse=True)
def own_environment() -> Iterator[None]:
    """Keep what a test does to the variables of stores to that test."""
    with mock.patch.dict(os.environ, mlflow_registry.DEFAULTS):
        yield
