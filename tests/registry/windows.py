"""Windows in a bucket, as Lambda writes them: they stay few, and a row counts once whatever happens."""

import json
import multiprocessing
import os
import signal
import threading
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import boto3
import numpy as np
import pytest
from botocore.client import BaseClient
from support import Hooked

from lifecycle.columns import Column, Schema
from lifecycle.monitoring import compaction
from lifecycle.monitoring.profile import Profile
from lifecycle.monitoring.windows import collect
from lifecycle.serving import aws_lambda_pull
from lifecycle.serving.aws_lambda_pull import pull, tidy

BUCKET = os.environ["WINDOWS_BUCKET"]
SCHEMA = Schema(task="regression", target=Column(name="y", kind="number"), time=None, columns=[])
X = np.random.default_rng(0).normal(size=1_000)
REFERENCE = Profile.build({"x": X}, X, SCHEMA)
HOURS = 24.0
WRITES = ("put_object", "delete_objects")
boto3.setup_default_session()


def bare(params: dict[str, Any], **_: Any) -> None:
    """Ceph compares an ETag without its quotes, which S3 asks for: the functions run on S3 itself."""
    if "IfMatch" in params:
        params["IfMatch"] = params["IfMatch"].strip('"')


boto3.DEFAULT_SESSION.events.register("provide-client-params.s3.PutObject", bare)
client: Any = boto3.client("s3")


@pytest.fixture(autouse=True)
def prefix(monkeypatch: pytest.MonkeyPatch) -> str:
    """A place of its own for each test; merging begins with few windows, and without a wait."""
    name = uuid.uuid4().hex
    monkeypatch.setenv("WINDOWS_PREFIX", name)
    monkeypatch.setattr(compaction, "MOST", 12)
    monkeypatch.setattr(aws_lambda_pull, "ALONE_HOURS", 0.0)
    return name


def serve(prefix: str, hours: list[float]) -> None:
    """Write a window of ten rows for each of these hours ago."""

    def write(ago: float) -> None:
        window = REFERENCE.empty()
        window.add({"x": X[:10]}, X[:10])
        stamp = f"{datetime.now(UTC) - timedelta(hours=ago):{compaction.STAMP}}"
        body = json.dumps(window.counts_only() | {"rejected": 1}).encode()
        key = f"{prefix}/windows/v1/{stamp}-1-{uuid.uuid4().hex[:8]}.json"
        client.put_object(Bucket=BUCKET, Key=key, Body=body)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(write, hours))


def spread(number: int) -> list[float]:
    return [20 * i / number for i in range(number)]


def counted(folder: Path) -> int:
    """What a check sees that pulls into this folder."""
    pull("v1", folder, HOURS)
    total, rejected = collect(REFERENCE, folder, "v1", HOURS)
    assert sum(total.features["x"]["counts"]) == total.rows == rejected * 10
    return total.rows


def stored(prefix: str) -> list[str]:
    pages = client.get_paginator("list_objects_v2").paginate(Bucket=BUCKET, Prefix=f"{prefix}/windows/v1/")
    return [item["Key"] for page in pages for item in page.get("Contents", ())]


def test_many_become_a_few_with_the_same_counts(prefix: str, tmp_path: Path) -> None:
    serve(prefix, spread(1_010))  # more than S3 lists or deletes at once
    assert counted(tmp_path / "check") == counted(tmp_path / "person") == 10_100
    tidy("v1", tmp_path / "check")
    assert len(stored(prefix)) <= 10
    for folder in ("check", "person", "fresh"):
        assert counted(tmp_path / folder) == 10_100, "copies of what was merged count no more"
    serve(prefix, spread(10))
    tidy("v1", tmp_path / "check")
    assert len(stored(prefix)) <= 20 and counted(tmp_path / "check") == 10_200


def test_logs_beside_the_windows_stay(prefix: str, tmp_path: Path) -> None:
    serve(prefix, spread(20))
    key = f"{prefix}/windows/v1/predictions/2026-01-01.jsonl"
    client.put_object(Bucket=BUCKET, Key=key, Body=b"{}\n")
    pull("v1", tmp_path, HOURS, logs=True)
    tidy("v1", tmp_path)
    assert key in stored(prefix) and (tmp_path / "v1/predictions/2026-01-01.jsonl").exists()


def die(at: int, folder: Path) -> None:
    """Check, and be killed before the write with this number."""
    left = [at]

    def before(name: str) -> None:
        if name in WRITES:
            left[0] -= 1
            if left[0] < 0:
                os.kill(os.getpid(), signal.SIGKILL)

    make = boto3.client
    boto3.client = lambda *words, **named: Hooked(make(*words, **named), before)
    aws_lambda_pull.DELETED = 10
    pull("v1", folder, HOURS)
    tidy("v1", folder)


def test_killed_at_any_write_no_row_is_lost_or_counts_twice(prefix: str, tmp_path: Path) -> None:
    done, at, rows = None, 0, 0
    while done != 0:
        serve(prefix, spread(15))  # each round merges merged ones, too
        rows += 150
        process = multiprocessing.get_context("fork").Process(target=die, args=(at, tmp_path / str(at)))
        process.start()
        process.join()
        done, at = process.exitcode, at + 1
        assert done in (0, -signal.SIGKILL)
        assert counted(tmp_path / "fresh") == counted(tmp_path / str(at - 1)) == rows, f"killed at write {at}"
    assert at > 8
    tidy("v1", tmp_path / "fresh")
    assert len(stored(prefix)) <= 10 and counted(tmp_path / "fresh") == rows


def test_a_reader_sees_every_row_while_they_are_written_and_merged(prefix: str, tmp_path: Path) -> None:
    serve(prefix, spread(20))
    over = threading.Event()

    def check() -> Iterator[int]:
        while not over.is_set():
            yield counted(tmp_path / "reader")

    with ThreadPoolExecutor(1) as pool:
        seen = pool.submit(lambda: list(check()))
        for _ in range(6):
            serve(prefix, spread(20))
            pull("v1", tmp_path / "check", HOURS)
            tidy("v1", tmp_path / "check")
        over.set()
    assert seen.result() == sorted(seen.result()) and len(seen.result()) > 3
    assert counted(tmp_path / "reader") == 7 * 200


def test_of_two_checks_at_once_one_merges(
    prefix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(aws_lambda_pull, "ALONE_HOURS", 0.25)
    serve(prefix, spread(40))
    for folder in ("a", "b"):
        pull("v1", tmp_path / folder, HOURS)
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda folder: tidy("v1", tmp_path / folder), "ab"))
    made = [key for key in stored(prefix) if compaction.MERGED in key]
    assert len(made) <= 9 and counted(tmp_path / "c") == 400


def test_what_cannot_be_deleted_fails_and_gives_the_turn_back(
    prefix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The service answers 200 with the errors in its body, which a user without the right would see."""
    monkeypatch.setattr(aws_lambda_pull, "ALONE_HOURS", 0.25)
    serve(prefix, spread(20))
    pull("v1", tmp_path, HOURS)
    with monkeypatch.context() as patch:
        refused = {"Errors": [{"Key": "k", "Code": "AccessDenied"}]}
        call = BaseClient._make_api_call  # type: ignore[attr-defined]
        patch.setattr(
            BaseClient,
            "_make_api_call",
            lambda self, name, given: refused if name == "DeleteObjects" else call(self, name, given),
        )
        with pytest.raises(OSError, match="AccessDenied"):
            tidy("v1", tmp_path)
    assert counted(tmp_path) == 200
    tidy("v1", tmp_path)
    assert len(stored(prefix)) <= 10 and counted(tmp_path) == 200
