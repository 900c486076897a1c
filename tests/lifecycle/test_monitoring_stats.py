"""Served counts: every row once, whoever is killed, writes, reads or turns the hour meanwhile."""

import json
import os
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from lifecycle import files
from lifecycle.data.schema import Column, Schema
from lifecycle.errors import DataError
from lifecycle.monitoring import serving_stats
from lifecycle.monitoring.profile import Profile
from lifecycle.monitoring.serving_stats import Recorder, collect

SCHEMA = Schema(task="regression", target=Column(name="y", kind="number"), time=None, columns=[])
X = np.random.default_rng(0).normal(size=5_000)
REFERENCE = Profile.build({f"x{i}": X for i in range(5)}, X, SCHEMA)
NOON = 1_790_000_000 // 86_400 * 86_400 + 12 * 3600.0  # of a day in 2026


class Clock:
    """A clock that is set by hand."""

    def __init__(self, now: float = NOON) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


def recorder(folder: Path, clock: Callable[[], float] = time.time, **rules: object) -> Recorder:
    return Recorder(REFERENCE, folder, "v1", 3600, rules or None, clock)


def serve(made: Recorder, rows: int = 10) -> None:
    made.add({f"x{i}": X[:rows] for i in range(5)}, X[:rows])


def counted(folder: Path, hours: float = 24, clock: Callable[[], float] = time.time) -> tuple[int, int]:
    total, rejected = collect(REFERENCE, folder, "v1", hours, clock)
    assert all(sum(feature["counts"]) == total.rows for feature in total.features.values())
    return total.rows, rejected


def stored(folder: Path) -> list[str]:
    return sorted(path.name for path in (folder / "v1").glob("*.json"))


def test_counts_of_several_servers_add_up(tmp_path: Path) -> None:
    whole = REFERENCE.empty()
    for rows in (400, 20, 1):
        made = recorder(tmp_path)
        made.start()
        serve(made, rows)
        made.reject(2)
        made.close()
        whole.add({f"x{i}": X[:rows] for i in range(5)}, X[:rows])
    total, rejected = collect(REFERENCE, tmp_path, "v1", hours=1)
    assert (total.to_dict(), rejected) == (whole.to_dict(), 6)
    assert collect(REFERENCE, tmp_path, "v2", hours=1)[0].rows == 0
    stamp = time.strftime("%Y%m%dT", time.gmtime())
    assert len(stored(tmp_path)) == 3 and all(name.startswith(stamp) for name in stored(tmp_path))


def test_an_hour_of_a_process_is_one_file_however_often_it_is_flushed(tmp_path: Path) -> None:
    clock = Clock()
    made = recorder(tmp_path, clock)
    for minute in range(60 * 5):
        clock.now = NOON + 60 * minute
        serve(made, 1)
        made.flush()
    assert [name[:11] for name in stored(tmp_path)] == [f"{day}T{hour}" for day, hour in _hours(5)]
    assert counted(tmp_path, 24, clock) == (300, 0)


def _hours(number: int) -> list[tuple[str, str]]:
    moments = [time.gmtime(NOON + 3600 * i) for i in range(number)]
    return [(time.strftime("%Y%m%d", moment), time.strftime("%H", moment)) for moment in moments]


def test_nothing_new_writes_nothing(tmp_path: Path) -> None:
    made = recorder(tmp_path)
    made.flush()
    assert not (tmp_path / "v1").exists()
    made.reject(3)
    made.flush()
    (path,) = (tmp_path / "v1").glob("*.json")
    before = path.stat().st_mtime_ns
    made.flush()
    assert path.stat().st_mtime_ns == before and counted(tmp_path) == (0, 3)


def test_the_far_end_is_a_whole_hour(tmp_path: Path) -> None:
    clock = Clock()
    made = recorder(tmp_path, clock)
    for _ in range(6):
        serve(made)
        clock.now += 3600
    made.flush()
    clock.now = NOON + 5 * 3600 + 1800  # 17:30
    assert counted(tmp_path, 1, clock)[0] == 20, "16:30 lies in the hour from 16:00 on"
    assert counted(tmp_path, 5.5, clock)[0] == 60
    assert counted(tmp_path, 0, clock)[0] == 10


def test_rows_after_the_turn_of_the_hour_go_into_a_new_file_and_those_before_are_kept(tmp_path: Path) -> None:
    clock = Clock(NOON + 3599.9)
    made = recorder(tmp_path, clock)
    serve(made, 7)
    made.reject(1)
    clock.now = NOON + 3600
    serve(made, 5)
    made.flush()
    rows = [json.loads((tmp_path / "v1" / name).read_text())["rows"] for name in stored(tmp_path)]
    assert rows == [7, 5] and counted(tmp_path, 2, clock) == (12, 1)


def test_a_clock_that_is_set_back_replaces_no_file(tmp_path: Path) -> None:
    clock = Clock()
    made = recorder(tmp_path, clock)
    for now in (NOON, NOON + 3600, NOON, NOON + 3600):
        clock.now = now
        serve(made)
        made.flush()
    assert counted(tmp_path, 24, clock)[0] == 40 and len(stored(tmp_path)) == 4


def test_what_cannot_be_written_is_kept_and_written_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock()
    made = recorder(tmp_path, clock, most_a_day=100, confidence=0.5)
    with monkeypatch.context() as patch:
        patch.setattr(files, "write_text", _full)
        for _ in range(3):
            serve(made)
            made.reject(1)
            with pytest.raises(OSError, match="full"):
                made.flush()
            clock.now += 3600
    with monkeypatch.context() as patch:
        patch.setattr(files, "append_lines", _full)
        with pytest.raises(OSError, match="full"):
            made.flush()
    assert counted(tmp_path, 24, clock) == (30, 3)
    made.flush()
    made.flush()
    (log,) = (tmp_path / "v1/predictions").iterdir()
    assert len(log.read_text().splitlines()) == 30


def _full(*_: object) -> None:
    raise OSError("the disk is full")


def test_a_disk_that_stays_full_does_not_fill_the_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock()
    made = recorder(tmp_path, clock)
    with monkeypatch.context() as patch:
        patch.setattr(files, "write_text", _full)
        for _ in range(serving_stats.MOST_HOURS + 50):
            serve(made, 1)
            clock.now += 3600
    made.flush()
    assert counted(tmp_path, 24 * 30, clock)[0] == serving_stats.MOST_HOURS + 1


def test_very_old_files_are_removed_and_others_are_not(tmp_path: Path) -> None:
    (tmp_path / "v1").mkdir()
    for name, days in (("20260101T10-a.json", 91), (".x.json.1.partial", 91), ("20260301T10-b.json", 89)):
        (tmp_path / "v1" / name).write_text("{}")
        os.utime(tmp_path / "v1" / name, (time.time() - days * 86_400,) * 2)
    made = recorder(tmp_path)
    serve(made)
    made.flush()
    assert len(stored(tmp_path)) == 2 and "20260301T10-b.json" in stored(tmp_path)
    assert not list((tmp_path / "v1").glob(".*"))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda data: data["features"]["x0"]["counts"].append(1), "x0 have other bins"),
        (lambda data: data["features"].pop("x3"), "x3"),
        (lambda data: data.pop("rejected"), "rejected"),
    ],
)
def test_a_file_of_other_bins_is_refused_by_its_name(
    tmp_path: Path, change: Callable[[dict], object], says: str
) -> None:
    made = recorder(tmp_path)
    serve(made)
    made.flush()
    (path,) = (tmp_path / "v1").glob("*.json")
    data = json.loads(path.read_text())
    change(data)
    path.write_text(json.dumps(data))
    with pytest.raises(DataError, match=says) as caught:
        counted(tmp_path)
    assert path.name in str(caught.value) and "remove that file" in caught.value.next_step
    path.write_text("")
    with pytest.raises(DataError, match=path.name):
        counted(tmp_path)


def test_a_folder_that_takes_no_files_is_refused_at_the_start(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError):
        recorder(tmp_path / "file").start()


def test_reading_500_files_is_fast(tmp_path: Path) -> None:
    """Three weeks of one process: a check must not wait. A second is ten times what it takes."""
    made = recorder(tmp_path)
    serve(made, 5_000)
    made.flush()
    (path,) = (tmp_path / "v1").glob("*.json")
    text, now = path.read_text(), time.time()
    for hour in range(1, 500):
        name = time.strftime(serving_stats.HOUR, time.gmtime(now - hour * 3600)) + "-0.json"
        (tmp_path / "v1" / name).write_text(text)
    start = time.process_time()
    assert counted(tmp_path, 24 * 30)[0] == 500 * 5_000
    assert time.process_time() - start < 1
