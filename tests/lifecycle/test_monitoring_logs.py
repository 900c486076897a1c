"""The logs of predictions and of unusual rows: complete, small, and without what must not be in them."""

import json
import os
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from lifecycle import files
from lifecycle.data.arrays import Arrays
from lifecycle.data.schema import Column, Schema
from lifecycle.monitoring import logs
from lifecycle.monitoring.profile import Profile
from lifecycle.monitoring.serving_stats import Recorder
from lifecycle.settings import Anomalies

CLASSES = Schema(
    task="classification", target=Column(name="y", kind="category"), time=None, columns=[], classes=["a", "b"]
)
NOON = 1_790_000_000 // 86_400 * 86_400 + 12 * 3600.0  # of a day in 2026
SURE, UNSURE = [0.1, 0.9], [0.51, 0.49]


def served(folder: Path, output: np.ndarray, most: int = logs.MOST, now: float | None = None) -> list[str]:
    log, ids = logs.PredictionLog(most), []
    for start in range(0, len(output), 100):
        ids += log.add(output[start : start + 100], now or time.time())
        logs.append(folder / log.file, log.lines)
        log.lines.clear()
    return ids


def test_the_file_of_a_day_stays_small_and_no_hour_weighs_more(tmp_path: Path) -> None:
    ids = served(tmp_path, np.arange(50_000.0), most=1_000)
    paths = list((tmp_path / logs.PREDICTIONS).iterdir())
    assert sum(len(path.read_text().splitlines()) for path in paths) < 5_000 * len(paths)
    found = logs.read_predictions(tmp_path, 0)
    assert 300 <= len(found) <= 2_000 * len(paths) and set(found["id"]) <= set(ids)
    assert np.histogram(found["p0"], bins=10, range=(0, 50_000))[0].std() <= len(paths)


def test_a_new_day_has_a_file_of_its_own_and_is_not_thinned(tmp_path: Path) -> None:
    log = logs.PredictionLog(1_000)
    for day in (0, 1):
        for start in range(0, 3_000 if day == 0 else 500, 100):
            log.add(np.arange(start, start + 100.0), NOON + 86_400 * day)
            logs.append(tmp_path / log.file, log.lines)
            log.lines.clear()
    found = logs.read_predictions(tmp_path, NOON - 60)
    assert len(list((tmp_path / logs.PREDICTIONS).iterdir())) == 2
    assert len(found[found["time"] > NOON + 3600]) == 500
    assert len(found[found["time"] < NOON + 3600]) < 1_000
    assert found["id"].is_unique


def test_only_predictions_since_a_time_are_read(tmp_path: Path) -> None:
    for days in range(4):
        served(tmp_path, np.array([float(days)]), now=NOON + 86_400 * days)
    assert sorted(logs.read_predictions(tmp_path, NOON + 86_400 * 1.5)["p0"]) == [2.0, 3.0]
    assert len(logs.read_predictions(tmp_path / "none", 0)) == 0


def test_a_torn_line_is_skipped(tmp_path: Path) -> None:
    served(tmp_path, np.arange(20.0))
    (path,) = (tmp_path / logs.PREDICTIONS).iterdir()
    path.write_text(path.read_text()[:-2])  # of …-19 there is …-1 left, which is another's
    found = logs.read_predictions(tmp_path, 0)
    assert found["p0"].tolist() == list(range(19)) and found["id"].is_unique


@pytest.mark.parametrize("taken", [0, 3, 20, 47, 200])
def test_a_disk_that_takes_a_part_of_the_lines_loses_none_and_doubles_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, taken: int
) -> None:
    """The first write takes so many bytes and the second fails; the next flush repeats all lines."""
    reference = Profile.build({"x": np.arange(100.0)}, np.eye(2)[[0, 1] * 50], CLASSES)
    made = Recorder(reference, tmp_path, "v1", 3600)
    ids = made.add({"x": np.arange(20.0)}, np.tile(SURE, (20, 1)))
    write, parts = os.write, [taken]

    def full(file: int, data: bytes) -> int:
        if parts:
            return write(file, data[: parts.pop()])
        raise OSError("the disk is full")

    with monkeypatch.context() as patch:
        patch.setattr(files.os, "write", full)
        with pytest.raises(OSError, match="full"):
            made.flush()
    made.flush()
    found = logs.read_predictions(tmp_path / "v1", 0)
    assert sorted(found["id"]) == sorted(ids)
    assert found["time"].between(time.time() - 60, time.time() + 60).all()


def test_a_log_that_cannot_be_written_does_not_fill_the_memory() -> None:
    log = logs.PredictionLog(10)
    ids = [log.add(np.zeros(1), NOON + 86_400 * day)[0] for day in range(100)]
    assert len(log.lines) == 20 and len(set(ids)) == 100


def test_the_first_lines_of_a_new_file_remove_the_oldest_files(tmp_path: Path) -> None:
    folder = tmp_path / logs.PREDICTIONS
    folder.mkdir()
    for days in (91, 89):
        (folder / f"{days}.csv").write_text("")
        os.utime(folder / f"{days}.csv", (time.time() - 86_400 * days,) * 2)
    served(tmp_path, np.zeros(1))
    assert not (folder / "91.csv").exists() and (folder / "89.csv").exists()


def unusual(tmp_path: Path, columns: Arrays, output: np.ndarray, **rules: Any) -> list[dict[str, Any]]:
    """Serve rows to a recorder and return what its anomaly log holds."""
    usual = {"x": np.linspace(0, 1, 100), "name": np.array(["Ada"] * 100, dtype=object), "flag": np.ones(100)}
    reference = Profile.build(usual, np.eye(2)[[0, 1] * 50], CLASSES)
    recorder = Recorder(reference, tmp_path, "v1", 3600, Anomalies(**rules).model_dump())
    recorder.start()
    recorder.add(columns, output)
    recorder.close()
    lines = [path.read_text().splitlines() for path in (tmp_path / "v1/anomalies").glob("*")]
    return [json.loads(line) for part in lines for line in part]


def people(x: list[float]) -> Arrays:
    return {"x": np.array(x), "name": np.array(["Ada"] * len(x), dtype=object)}


@pytest.mark.parametrize("more", [0, 50])
def test_only_unusual_rows_are_logged_whole(tmp_path: Path, more: int) -> None:
    output = np.array([SURE, UNSURE, SURE] + [SURE] * more)
    found = unusual(tmp_path, people([0.5, 0.6, 9.0] + [0.5] * more), output)
    assert [item["why"] for item in found] == [["low confidence"], ["x out of range"]]
    assert found[0]["row"] == {"x": 0.6, "name": "Ada"} and found[0]["prediction"] == UNSURE
    kept = logs.read_predictions(tmp_path / "v1", 0)
    assert [item["id"] for item in found] == kept["id"].tolist()[1:3]


def test_personal_columns_are_hashed_with_a_key_or_dropped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (row,) = unusual(tmp_path / "0", people([9.0]), np.array([SURE]), dropped=["name"])
    assert row["row"] == {"x": 9.0}
    (row,) = unusual(tmp_path / "1", people([9.0]), np.array([SURE]), hashed=["name"])
    assert row["row"] == {"x": 9.0}, "without a key a name could be guessed from its hash"
    hashes = set()
    for number, key in enumerate(("k1", "k1", "k2")):
        monkeypatch.setenv("ANOMALY_KEY", key)
        (row,) = unusual(tmp_path / key / str(number), people([9.0]), np.array([SURE]), hashed=["name"])
        hashes.add(row["row"]["name"])
    assert len(hashes) == 2 and not any("Ada" in text for text in hashes)


def test_missing_values_are_not_logged_and_times_are_as_text(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ANOMALY_KEY", "k")
    times = np.array(["2026-02-03T04:05", "NaT"], dtype="datetime64[us]")
    columns = {"x": np.array([9.0, np.nan]), "at": times, "flag": np.array([1.0, np.nan])}
    both = unusual(tmp_path, columns, np.array([SURE, UNSURE]), hashed=["flag"])
    assert both[0]["row"] | {"flag": ""} == {"x": 9.0, "at": "2026-02-03T04:05:00.000000", "flag": ""}
    assert both[1]["row"] == {}


def test_a_flood_of_unusual_rows_stops_at_the_limit(tmp_path: Path) -> None:
    assert len(unusual(tmp_path, people([9.0] * 500), np.array([SURE] * 500), most_a_day=20)) == 20
    assert unusual(tmp_path / "no", people([9.0]), np.array([SURE]), most_a_day=0) == []


def test_the_limit_is_of_a_day(tmp_path: Path) -> None:
    now = NOON
    reference = Profile.build({"x": np.linspace(0, 1, 100)}, np.eye(2)[[0, 1] * 50], CLASSES)
    made = Recorder(reference, tmp_path, "v1", 3600, {"most_a_day": 3, "confidence": 0.6}, lambda: now)
    for _ in range(2):
        for _ in range(5):
            made.add({"x": np.array([0.5])}, np.array([UNSURE]))
        made.flush()
        now += 86_400
    lengths = [len(path.read_text().splitlines()) for path in (tmp_path / "v1/anomalies").iterdir()]
    assert lengths == [3, 3]


def test_the_log_of_predictions_is_a_frame_of_numbers(tmp_path: Path) -> None:
    served(tmp_path, np.array([[0.25, 0.75], [1.0, 0.0]]))
    found = logs.read_predictions(tmp_path, 0)
    assert list(found.columns) == ["time", "p0", "p1", "id"]
    assert found[["p0", "p1"]].to_numpy().tolist() == [[0.25, 0.75], [1.0, 0.0]]
    assert pd.api.types.is_float_dtype(found["time"])
