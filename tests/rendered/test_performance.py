"""Predictions are kept by id, labels find them, and only a worse model is called worse."""

import json
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from lifecycle.columns import Arrays, Column, Schema
from lifecycle.errors import DataError
from lifecycle.monitoring import anomalies, bins, labels, predictions
from lifecycle.monitoring.judgement import judge, losses
from lifecycle.monitoring.performance import joined
from lifecycle.monitoring.profile import Profile
from lifecycle.monitoring.windows import Recorder
from lifecycle.settings import Anomalies, Drift, Performance

NUMBER = Schema(task="regression", target=Column(name="y", kind="number"), time=None, columns=[])
CLASSES = Schema(
    task="classification", target=Column(name="y", kind="category"), time=None, columns=[], classes=["a", "b"]
)
FACTS = {"metric": "MAE", "error": 1.0, "error_sd": 0.75, "rows": 2_000, "rmse": 1.25}


def served(folder: Path, output: np.ndarray, most: int = predictions.MOST, batch: int = 100) -> list[str]:
    log = predictions.PredictionLog(most)
    ids = []
    for start in range(0, len(output), batch):
        ids += log.add(output[start : start + batch])
        name, lines = log.take()
        predictions.append(folder / name, lines)
    return ids


def test_labels_that_come_later_find_their_prediction(tmp_path: Path) -> None:
    ids = served(tmp_path / "v1", np.arange(1_000.0))
    assert len(set(ids)) == 1_000
    for part in (slice(0, 300), slice(200, 500)):
        frame = pd.DataFrame({"id": ids[part], "label": np.arange(1_000.0)[part] + 1})
        frame.to_csv(tmp_path / "l.csv", index=False)
        labels.keep(labels.load(tmp_path / "l.csv", NUMBER), tmp_path / "labels")
    found = joined(tmp_path / "v1", tmp_path / "labels", hours=1)
    assert len(found) == 500 and (found["label"] - found["p0"]).eq(1).all()
    assert len(joined(tmp_path / "v1", tmp_path / "labels", hours=-1)) == 0


def test_the_newest_label_counts_and_the_same_file_twice_is_once(tmp_path: Path) -> None:
    for value in (1.0, 1.0, 2.0):
        labels.keep(pd.DataFrame({"id": ["x-1"], "label": [value]}), tmp_path)
        time.sleep(0.02)
    assert len(list(tmp_path.glob("*.parquet"))) == 2
    assert labels.read_labels(tmp_path)["label"].tolist() == [2.0]


@pytest.mark.parametrize(
    ("text", "schema", "says"),
    [
        ("id,y\n1,2\n", NUMBER, "no column label"),
        ("id,label\n1,often\n", NUMBER, "does not know: often"),
        ("id,label\n1,c\n", CLASSES, "does not know: c"),
    ],
)
def test_labels_that_cannot_be_are_refused(tmp_path: Path, text: str, schema: Schema, says: str) -> None:
    (tmp_path / "l.csv").write_text(text)
    with pytest.raises(DataError, match=says):
        labels.load(tmp_path / "l.csv", schema)


def test_the_file_of_a_day_stays_small_and_no_hour_weighs_more(tmp_path: Path) -> None:
    ids = served(tmp_path, np.arange(50_000.0), most=1_000)
    (path,) = (tmp_path / predictions.FOLDER).iterdir()
    assert len(path.read_text().splitlines()) < 5_000
    found = predictions.read(tmp_path, 0)
    assert 300 <= len(found) <= 2_000 and set(found["id"]) <= set(ids)
    assert np.histogram(found["p0"], bins=10, range=(0, 50_000))[0].std() <= 1


def test_a_torn_line_is_left_out(tmp_path: Path) -> None:
    served(tmp_path, np.arange(20.0))
    (path,) = (tmp_path / predictions.FOLDER).iterdir()
    path.write_text(path.read_text()[:-2])  # of …-19 there is …-1 left, which is another's
    found = predictions.read(tmp_path, 0)
    assert found["p0"].tolist() == list(range(19)) and found["id"].is_unique


def residuals_of(rows: int, scale: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    truth = random.normal(size=rows)
    return truth, truth + random.normal(scale=scale * np.sqrt(np.pi / 2), size=rows)


def test_a_worse_model_is_called_worse_and_the_same_one_is_not() -> None:
    """MAE 1 at the gate, 500 labels: 300 times as good, 300 times 30 % worse; a bar of 1 % false alarms."""
    alarms = [judge(*residuals_of(500, 1.0, seed), FACTS, Performance()).verdict for seed in range(300)]
    found = [judge(*residuals_of(500, 1.3, seed), FACTS, Performance()).verdict for seed in range(300)]
    assert alarms.count("worse") <= 3 and found.count("worse") >= 290
    seen = [judge(*residuals_of(500, 1.0, seed), FACTS, Performance()) for seed in range(300)]
    within = [found.low <= 1.0 <= found.high for found in seen if found.low and found.high]
    assert 0.92 <= np.mean(within) <= 0.98, "the interval says 95 %"


def test_a_trivial_loss_of_very_many_rows_is_not_worse() -> None:
    assert judge(*residuals_of(200_000, 1.05, 0), FACTS, Performance()).verdict == "same"
    assert judge(*residuals_of(200_000, 1.05, 0), FACTS, Performance(worse=0.01)).verdict == "worse"


def test_few_labels_are_no_verdict() -> None:
    found = judge(*residuals_of(199, 9.0, 0), FACTS, Performance())
    assert (found.verdict, found.value, found.expected) == ("insufficient data", None, 1.0)


def test_worse_than_the_version_before_on_the_same_rows_is_worse() -> None:
    truth, predicted = residuals_of(1_000, 1.0, 0)
    better = truth + (predicted - truth) * 0.8
    found = judge(truth, predicted, FACTS, Performance(), before=better)
    assert found.verdict == "worse" and found.previous == pytest.approx((found.value or 0) * 0.8)
    assert judge(truth, better, FACTS, Performance(), before=predicted).verdict == "same"


def test_the_loss_of_a_class_is_its_log_loss() -> None:
    assert losses(np.array([0, 1]), np.array([[0.5, 0.5], [0.9, 0.1]])) == pytest.approx(-np.log([0.5, 0.1]))


def test_a_recall_that_falls_in_a_week_is_found() -> None:
    random = np.random.default_rng(0)
    truth = random.integers(0, 2, 4_000)
    right = random.random(4_000) < np.where(np.arange(4_000) < 2_000, 0.8, 0.6)
    said = np.where(right, truth, 1 - truth)
    times = 1_790_000_000 + np.where(np.arange(4_000) < 2_000, 0, 7 * 86400)
    facts = {"classes": {label: {"precision": 0.8, "recall": 0.8} for label in "ab"}}
    weeks = labels.weekly(times, truth, np.eye(2)[said], facts, ["a", "b"], Performance())
    assert len(weeks) == 8
    assert {week.week for week in weeks if week.dropped} == {weeks[-1].week}
    assert not any(week.dropped for week in weeks if week.week == weeks[0].week)
    assert labels.weekly(times, truth, np.eye(2)[said], {}, ["a", "b"], Performance()) == []


def test_labels_that_moved_are_told() -> None:
    before = np.array(["a"] * 900 + ["b"] * 100, dtype=object)
    reference = Profile({}, 0, ["a", "b"], bins.choose(before))
    assert reference.labels
    bins.add(reference.labels, before, bins.places(reference.labels))
    same, other = pd.Series(["a"] * 180 + ["b"] * 20), pd.Series(["a"] * 120 + ["b"] * 80)
    assert labels.moved(same, CLASSES, reference, Drift()) == ""
    assert labels.moved(other, CLASSES, reference, Drift()).startswith("labels moved: PSI")
    assert labels.moved(other, CLASSES, Profile({}, 0, []), Drift()) == ""


def odd_rows(tmp_path: Path, columns: Arrays, output: np.ndarray, **rules: Any) -> list[dict[str, Any]]:
    """Serve rows to a recorder and return what its anomaly log holds."""
    usual = {"x": np.linspace(0, 1, 100), "name": np.array(["Ada"] * 100, dtype=object)}
    reference = Profile.build(usual, np.eye(2)[[0, 1] * 50], CLASSES)
    recorder = Recorder(reference, tmp_path, "v1", 3600, Anomalies(**rules).model_dump())
    recorder.start()
    recorder.add(columns, output)
    recorder.close()
    lines = [path.read_text().splitlines() for path in (tmp_path / "v1/anomalies").glob("*")]
    return [json.loads(line) for part in lines for line in part]


SURE, UNSURE = [0.1, 0.9], [0.51, 0.49]


def people(x: list[float]) -> Arrays:
    return {"x": np.array(x), "name": np.array(["Ada"] * len(x), dtype=object)}


@pytest.mark.parametrize("more", [0, 50])
def test_only_odd_rows_are_logged_whole(tmp_path: Path, more: int) -> None:
    output = np.array([SURE, UNSURE, SURE] + [SURE] * more)
    found = odd_rows(tmp_path, people([0.5, 0.6, 9.0] + [0.5] * more), output)
    assert [item["why"] for item in found] == [["low confidence"], ["x out of range"]]
    assert found[0]["row"] == {"x": 0.6, "name": "Ada"} and found[0]["prediction"] == UNSURE
    kept = predictions.read(tmp_path / "v1", 0)
    assert [item["id"] for item in found] == kept["id"].tolist()[1:3]


def test_personal_columns_are_hashed_with_a_key_or_dropped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (row,) = odd_rows(tmp_path / "0", people([9.0]), np.array([SURE]), dropped=["name"])
    assert row["row"] == {"x": 9.0}
    (row,) = odd_rows(tmp_path / "1", people([9.0]), np.array([SURE]), hashed=["name"])
    assert row["row"] == {"x": 9.0}, "without a key a name could be guessed from its hash"
    hashes = set()
    for number, key in enumerate(("k1", "k1", "k2")):
        monkeypatch.setenv("ANOMALY_KEY", key)
        (row,) = odd_rows(tmp_path / key / str(number), people([9.0]), np.array([SURE]), hashed=["name"])
        hashes.add(row["row"]["name"])
    assert len(hashes) == 2 and not any("Ada" in text for text in hashes)


def test_a_flood_of_odd_rows_stops_at_the_bar(tmp_path: Path) -> None:
    assert len(odd_rows(tmp_path, people([9.0] * 500), np.array([SURE] * 500), most_a_day=20)) == 20
    assert odd_rows(tmp_path / "no", people([9.0]), np.array([SURE]), most_a_day=0) == []


def test_a_prediction_far_off_its_label_is_logged_once_labels_come(tmp_path: Path) -> None:
    made = pd.DataFrame({"id": ["a", "b"], "time": [1.0, 2.0], "p0": [5.0, 5.0], "label": [6.0, 9.0]})
    model: Any = SimpleNamespace(schema=NUMBER, manifest=SimpleNamespace(metrics=FACTS))
    assert anomalies.residuals(made, model, tmp_path, Anomalies()) == 1
    (path,) = (tmp_path / "anomalies").iterdir()
    assert json.loads(path.read_text()) == {"id": "b", "at": 2, "why": ["far off its label: 4"]}
    assert anomalies.residuals(made, model, tmp_path, Anomalies(most_a_day=1)) == 0
