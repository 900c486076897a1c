"""Served counts on their way from the functions into the bucket and out of it; the bucket is a folder."""

import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from lifecycle.data.schema import Column, Schema
from lifecycle.deploy.aws_lambda import recorder, windows
from lifecycle.deploy.aws_lambda.recorder import S3Recorder, key
from lifecycle.deploy.aws_lambda.windows import pull
from lifecycle.monitoring import logs
from lifecycle.monitoring.profile import Profile
from lifecycle.monitoring.serving_stats import HOUR, collect
from lifecycle.project import Project
from lifecycle.registry.objects import Folder, Store

SCHEMA = Schema(task="regression", target=Column(name="y", kind="number"), time=None, columns=[])
X = np.random.default_rng(0).normal(size=1_000)
REFERENCE = Profile.build({"x": X}, X, SCHEMA)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Folder(tmp_path / "bucket")


class Client:
    """What S3Recorder needs of boto3's client, over a store."""

    def __init__(self, store: Store) -> None:
        self._store, self.puts = store, 0

    def put_object(self, Bucket: str, Key: str, Body: bytes) -> None:  # boto3's own names
        found = self._store.read(Key.removeprefix("shop/"))
        self.puts += 1
        assert self._store.swap(Key.removeprefix("shop/"), Body, found[1] if found else "")


@pytest.fixture
def served(project: Project, store: Store, monkeypatch: pytest.MonkeyPatch) -> Iterator[S3Recorder]:
    """A recorder of one environment."""
    monkeypatch.setenv("WINDOWS_BUCKET", "models")
    made = S3Recorder(project, REFERENCE, "v1", {})
    made._client = Client(store)
    yield made


def write(store: Store, hours_ago: float, rows: int = 10, token: str = "0") -> str:
    """Write what a process has counted in an hour; return the key."""
    counts = REFERENCE.empty()
    counts.add({"x": X[:rows]}, X[:rows])
    name = f"{time.strftime(HOUR, time.gmtime(time.time() - hours_ago * 3600))}-{token}.json"
    found = store.read(key("v1", name))
    text = json.dumps(counts.counts_only() | {"rejected": 1})
    assert store.swap(key("v1", name), text.encode(), found[1] if found else "")
    return key("v1", name)


def counted(store: Store, folder: Path, hours: float = 48) -> tuple[int, int]:
    pull(store, "v1", folder, hours)
    total, rejected = collect(REFERENCE, folder, "v1", hours)
    return total.rows, rejected


def test_one_environment_writes_one_file_an_hour_and_a_log_in_pieces(
    served: S3Recorder, store: Store, tmp_path: Path
) -> None:
    for _ in range(3):
        served.add({"x": X[:10]}, X[:10])
        served.flush()
    served.reject(2)
    served.flush()
    served.flush()
    client: Any = served._client
    assert client.puts == 7, "what holds nothing new is not written again"
    assert counted(store, tmp_path / "check") == (30, 2)
    assert not (tmp_path / "check/v1/predictions").exists()
    pull(store, "v1", tmp_path / "person", 48, logs=True)
    made = logs.read_predictions(tmp_path / "person/v1", 0)
    assert len(made) == 30 and made["id"].is_unique


def test_counts_are_written_when_the_last_time_is_long_ago(served: S3Recorder) -> None:
    client: Any = served._client
    served.add({"x": X[:10]}, X[:10])
    served.flush_if_due()
    assert client.puts == 0
    served._flushed -= 301  # a freeze of five minutes
    served.flush_if_due()
    served.add({"x": X[:10]}, X[:10])
    served.flush_if_due()
    assert client.puts == 2


def test_what_could_not_be_written_is_written_the_next_time(
    served: S3Recorder, store: Store, tmp_path: Path
) -> None:
    class Down:
        def put_object(self, **_: Any) -> None:
            raise OSError("the store has a moment")

    client, served._client = served._client, Down()
    served.add({"x": X[:10]}, X[:10])
    served._flushed -= 301
    with pytest.raises(OSError, match="a moment"):
        served.flush_if_due()
    served._client = client
    served.flush_if_due()
    assert counted(store, tmp_path) == (10, 0)


def test_a_check_reads_the_hours_it_needs(store: Store, tmp_path: Path) -> None:
    for ago in (0, 5, 47, 100, 2000):
        write(store, ago)
    assert counted(store, tmp_path, hours=1) == (10, 1)
    assert counted(store, tmp_path, hours=48) == (30, 3)
    assert counted(store, tmp_path, hours=101) == (40, 4)
    listed: list[str] = []

    class Listed(Folder):
        def list(self, prefix: str) -> list[str]:
            listed.append(prefix)
            return super().list(prefix)

    pull(Listed(tmp_path / "bucket"), "v1", tmp_path / "other", 48)
    assert len(listed) == 3, "only the days of these hours are listed"


def test_what_still_changes_is_read_again_and_nothing_else(store: Store, tmp_path: Path) -> None:
    changing, old = write(store, 1, rows=10), write(store, 30, rows=10)
    assert counted(store, tmp_path) == (20, 2)
    read: list[str] = []

    class Read(Folder):
        def read(self, name: str) -> tuple[bytes, str] | None:
            read.append(name)
            return super().read(name)

    write(store, 1, rows=500)
    assert counted(Read(tmp_path / "bucket"), tmp_path) == (510, 2)
    assert read == [changing] and old not in read


def test_what_is_gone_from_the_bucket_goes_here_too(store: Store, tmp_path: Path) -> None:
    kept, gone = write(store, 0), write(store, 6)
    assert counted(store, tmp_path) == (20, 2)
    store.delete(gone)
    assert counted(store, tmp_path) == (10, 1)
    assert [path.name for path in (tmp_path / "v1").iterdir()] == [kept.rpartition("/")[2]]


def test_what_goes_while_it_is_copied_is_skipped(store: Store, tmp_path: Path) -> None:
    gone = write(store, 0)

    class Late(Folder):
        def read(self, name: str) -> None:
            assert name == gone

    assert counted(Late(tmp_path / "bucket"), tmp_path) == (0, 0)


def test_many_files_are_read_in_parallel(store: Store, tmp_path: Path) -> None:
    for token in range(200):
        write(store, token % 48, rows=5, token=str(token))

    class Slow(Folder):
        def read(self, name: str) -> tuple[bytes, str] | None:
            time.sleep(0.02)
            return super().read(name)

    start = time.monotonic()
    assert counted(Slow(tmp_path / "bucket"), tmp_path / "check", hours=49) == (1000, 200)
    assert time.monotonic() - start < 200 * 0.02 and windows.READERS > 4


def test_outside_lambda_no_extension_is_registered(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_LAMBDA_RUNTIME_API", raising=False)
    keeper = recorder.Keeper(S3Recorder(project, REFERENCE, "v1", {}))
    keeper.start()
    keeper.answered()
    assert "WINDOWS_BUCKET" not in os.environ and recorder.place(project) == ("", "shop")
