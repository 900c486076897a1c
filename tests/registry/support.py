"""What the registry tests need inside a rendered project's environment: candidates, places, and processes.

REGISTRY_KIND says which implementation is tested, REGISTRY_PLACE where it is (an address, or nothing for the
embedded ones) and REGISTRY_FILES where a server keeps its files.
"""

import json
import multiprocessing
import os
import shutil
import signal
import threading
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from onnx import TensorProto, helper

from lifecycle import candidate
from lifecycle.errors import RegistryError
from lifecycle.registry.contract import Registry, open_registry

KIND = os.environ["REGISTRY_KIND"]
MLFLOW = KIND.startswith("mlflow")
# A kill or an interruption at each call costs minutes over HTTP: there at every third, embedded at all.
STRIDE = 3 if KIND == "mlflow-http" else 1
SCHEMA = {"task": "regression", "target": {"name": "y", "kind": "number"}, "time": None, "columns": []}
START = datetime(2026, 1, 1, tzinfo=UTC)
PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload(["support"])
if MLFLOW:
    from lifecycle.registry import mlflow as door

    for _key, _value in door.DEFAULTS.items():
        os.environ.setdefault(_key, _value)
    # The stores are loaded when they are first used: here once, rather than in every process of a test.
    import mlflow.store.model_registry.sqlalchemy_store
    import mlflow.store.tracking.sqlalchemy_store  # noqa: F401

    from lifecycle.registry.mlflow_registry import MlflowRegistry
elif KIND == "s3-ceph":
    import boto3


def make_candidate(folder: Path, number: int = 0) -> Path:
    """A small sealed candidate; another number is another version, a day younger."""
    folder.mkdir(parents=True)
    node = helper.make_node("Identity", ["x"], ["y"], f"number {number}")
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, [None, 1]) for name in "xy")
    model = helper.make_model(helper.make_graph([node], "g", [x], [y]))
    (folder / "model.onnx").write_bytes(model.SerializeToString())
    (folder / "schema.json").write_text(json.dumps(SCHEMA))
    (folder / "profile.json").write_text(json.dumps({"number": number}))
    candidate.seal(
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
    """One registry of one test: opened anew, as a new process would, or damaged from behind."""

    uri: str
    name: str
    folder: Path

    def open(self) -> Any:
        os.chdir(self.folder)
        if MLFLOW:
            return MlflowRegistry(self.uri, self.name)
        os.environ["REGISTRY_URI"] = self.uri
        return open_registry()

    def change(self, version: str, name: str, to: Callable[[bytes], bytes | None]) -> None:
        """Change a file of a version behind the registry's back; None deletes it."""
        if KIND == "s3-ceph":
            bucket, _, prefix = self.uri.removeprefix("s3://").partition("/")
            where = {"Bucket": bucket, "Key": f"{prefix}/models/{version}/{name}"}
            client = boto3.client("s3")
            data = to(client.get_object(**where)["Body"].read())
            client.delete_object(**where) if data is None else client.put_object(**where, Body=data)
            return
        if KIND == "mlflow-http":
            source = self.open()._versions.find(version).source.removeprefix("mlflow-artifacts:/")
            path = Path(os.environ["REGISTRY_FILES"], source, name)
        else:
            found = [path for path in self.folder.rglob("manifest.json") if version in path.read_text()]
            path = found[0].with_name(name)
        data = to(path.read_bytes())
        path.unlink() if data is None else path.write_bytes(data)


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
    attribute = "_client" if MLFLOW else "_store"
    hooked = Hooked(getattr(registry, attribute), before)
    for part in (registry, registry._versions, getattr(registry, "_history", registry)):
        setattr(part, attribute, hooked)
    return registry


def count_calls(place: Place, act: Callable[[Registry], Any]) -> int:
    calls: list[str] = []
    act(hook(place.open(), calls.append))
    return len(calls)


def run_and_kill(place: Place, act: Callable[..., Any], words: tuple, call: int) -> bool:
    """Run act(registry, *words) in a process that dies by kill -9 ahead of its nth call to the store.

    Returns whether it was killed, and not done before.
    """
    process = PROCESSES.Process(target=_dying, args=(place, act, words, call))
    process.start()
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
    processes = [
        PROCESSES.Process(target=_racing, args=(place, act, words, barrier, queue)) for words in each
    ]
    for process in processes:
        process.start()
    results = [queue.get(timeout=60) for _ in each]
    for process in processes:
        process.join(60)
    return results


def _racing(place: Place, act: Callable[..., Any], words: tuple, barrier: Any, queue: Any) -> None:
    try:
        registry: Any = place.open()
        if hasattr(registry, "_move"):
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
                results[who] = acts[who](registry)
            except RegistryError:
                pass
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


def publish(registry: Registry, folder: Path) -> str:
    return registry.publish(folder)


def promote(registry: Registry, version: str, by: str = "Ada") -> Any:
    return registry.promote(version, "production", by, "better")


def rollback(registry: Registry, by: str = "Ada") -> Any:
    return registry.rollback("production", by, "worse")


@pytest.fixture(scope="session")
def empty_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A new mlflow.db: making its tables takes seconds, copying it takes none."""
    folder = tmp_path_factory.mktemp("empty")
    Place(f"sqlite:///{folder}/mlflow.db", "churn", folder).open()
    return folder / "mlflow.db"


@pytest.fixture
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    """An empty registry."""
    unique, back = uuid.uuid4().hex[:8], Path.cwd()
    folder = tmp_path / "project"
    folder.mkdir()
    if KIND == "mlflow-sqlite":
        shutil.copy(request.getfixturevalue("empty_database"), folder)
    uris = {"mlflow-sqlite": f"sqlite:///{folder}/mlflow.db", "s3-file": "file://registry"}
    uri = uris.get(KIND) or os.environ["REGISTRY_PLACE"] + (f"/{unique}" if KIND == "s3-ceph" else "")
    yield Place(uri, f"churn-{unique}", folder)
    os.chdir(back)


@pytest.fixture
def versions(place: Place, tmp_path: Path) -> list[str]:
    """Three published versions, the oldest first."""
    registry = place.open()
    return [registry.publish(make_candidate(tmp_path / f"c{number}", number)) for number in range(3)]
