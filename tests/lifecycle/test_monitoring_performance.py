"""Labels find their predictions, and only a worse model is called worse."""

import json
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from lifecycle.data.schema import Column, Schema
from lifecycle.errors import DataError
from lifecycle.monitoring import ground_truth, histogram, performance
from lifecycle.monitoring.logs import PredictionLog, append
from lifecycle.monitoring.profile import Profile
from lifecycle.settings import Anomalies, Drift, Performance
from lifecycle.training.metrics import losses

NUMBER = Schema(task="regression", target=Column(name="y", kind="number"), time=None, columns=[])
CLASSES = Schema(
    task="classification", target=Column(name="y", kind="category"), time=None, columns=[], classes=["a", "b"]
)
FACTS = {"metric": "MAE", "error": 1.0, "error_sd": 0.75, "rows": 2_000, "rmse": 1.25}


def judge(
    truth: np.ndarray,
    predicted: np.ndarray,
    facts: dict[str, Any],
    thresholds: Performance,
    before: np.ndarray | None = None,
) -> performance.PerformanceVerdict:
    other = None if before is None else losses(truth, before)
    return performance.judge(losses(truth, predicted), facts, thresholds, other)


def served(folder: Path, output: np.ndarray) -> list[str]:
    log = PredictionLog()
    ids = log.add(output, time.time())
    append(folder / log.file, log.lines)
    return ids


def test_labels_that_come_later_find_their_prediction(tmp_path: Path) -> None:
    ids = served(tmp_path / "v1", np.arange(1_000.0))
    assert len(set(ids)) == 1_000
    for part in (slice(0, 300), slice(200, 500)):
        frame = pd.DataFrame({"id": ids[part], "label": np.arange(1_000.0)[part] + 1})
        frame.to_csv(tmp_path / "l.csv", index=False)
        ground_truth.keep(ground_truth.load(tmp_path / "l.csv", NUMBER), tmp_path / "labels")
    found = ground_truth.joined(tmp_path / "v1", tmp_path / "labels", hours=1)
    assert len(found) == 500 and (found["label"] - found["p0"]).eq(1).all()
    assert len(ground_truth.joined(tmp_path / "v1", tmp_path / "labels", hours=-1)) == 0


def test_the_newest_label_counts_and_the_same_file_twice_is_once(tmp_path: Path) -> None:
    for value in (1.0, 1.0, 2.0):
        ground_truth.keep(pd.DataFrame({"id": ["x-1"], "label": [value]}), tmp_path)
        time.sleep(0.02)
    assert len(list(tmp_path.glob("*.parquet"))) == 2
    assert ground_truth.read_labels(tmp_path)["label"].tolist() == [2.0]


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
        ground_truth.load(tmp_path / "l.csv", schema)


def residuals_of(rows: int, scale: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    truth = random.normal(size=rows)
    return truth, truth + random.normal(scale=scale * np.sqrt(np.pi / 2), size=rows)


def test_a_worse_model_is_called_worse_and_the_same_one_is_not() -> None:
    """MAE 1 at the gate, 500 labels: 300 times as good, 300 times 30 % worse; at most 1 % false alarms."""
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


def test_a_recall_that_falls_in_a_week_is_found() -> None:
    random = np.random.default_rng(0)
    truth = random.integers(0, 2, 4_000)
    right = random.random(4_000) < np.where(np.arange(4_000) < 2_000, 0.8, 0.6)
    said = np.where(right, truth, 1 - truth)
    times = 1_790_000_000 + np.where(np.arange(4_000) < 2_000, 0, 7 * 86400)
    facts = {"classes": {label: {"precision": 0.8, "recall": 0.8} for label in "ab"}}
    weeks = ground_truth.weekly(times, truth, np.eye(2)[said], facts, ["a", "b"], Performance())
    assert len(weeks) == 8
    assert {week.week for week in weeks if week.dropped} == {weeks[-1].week}
    assert not any(week.dropped for week in weeks if week.week == weeks[0].week)
    assert ground_truth.weekly(times, truth, np.eye(2)[said], {}, ["a", "b"], Performance()) == []


def test_labels_that_moved_are_reported() -> None:
    before = np.array(["a"] * 900 + ["b"] * 100, dtype=object)
    reference = Profile({}, 0, ["a", "b"], histogram.choose(before))
    assert reference.labels
    histogram.add(reference.labels, before)
    same, other = pd.Series(["a"] * 180 + ["b"] * 20), pd.Series(["a"] * 120 + ["b"] * 80)
    assert ground_truth.moved(same, CLASSES, reference, Drift()) == ""
    assert ground_truth.moved(other, CLASSES, reference, Drift()).startswith("labels moved: PSI")
    assert ground_truth.moved(other, CLASSES, Profile({}, 0, []), Drift()) == ""


def test_a_prediction_far_off_its_label_is_logged_once_labels_come(tmp_path: Path) -> None:
    made = pd.DataFrame({"id": ["a", "b"], "time": [1.0, 2.0], "p0": [5.0, 5.0], "label": [6.0, 9.0]})
    model: Any = SimpleNamespace(schema=NUMBER, manifest=SimpleNamespace(metrics=FACTS))
    assert performance.log_residuals(made, model, tmp_path, Anomalies()) == 1
    (path,) = (tmp_path / "anomalies").iterdir()
    assert json.loads(path.read_text()) == {"id": "b", "at": 2, "why": ["far off its label: 4"]}
    assert performance.log_residuals(made, model, tmp_path, Anomalies(most_a_day=1)) == 0


def test_a_class_far_off_has_a_loss_over_the_hold_outs(tmp_path: Path) -> None:
    rows = {"id": list("abc"), "time": [1.0, 2.0, 3.0], "p0": [0.5, 0.9, 0.0], "p1": [0.5, 0.1, 1.0]}
    made = pd.DataFrame(rows | {"label": ["a", "b", "a"]})
    facts = {"metric": "log loss", "error": 0.5, "error_sd": 0.5, "rows": 2_000}
    model: Any = SimpleNamespace(schema=CLASSES, manifest=SimpleNamespace(metrics=facts))
    assert performance.log_residuals(made, model, tmp_path, Anomalies()) == 2
    (path,) = (tmp_path / "anomalies").iterdir()
    logged = [json.loads(line) for line in path.read_text().splitlines()]
    assert [line["id"] for line in logged] == ["b", "c"]
    assert logged[1]["why"] == [f"far off its label: {-np.log(np.finfo(float).eps):.4g}"]


def test_labels_by_the_text_of_a_class_find_classes_of_any_type() -> None:
    schema = CLASSES.model_copy(update={"classes": [0, 1]})
    rows = pd.DataFrame(
        {"id": ["x", "y"], "time": [1.0, 2.0], "label": ["1", "0"], "p0": [0.1, 0.9], "p1": 0.5}
    )
    labels, predicted = ground_truth.compared(rows, schema)
    assert labels.tolist() == [1, 0] and predicted.tolist() == [[0.1, 0.5], [0.9, 0.5]]


def test_a_week_with_few_rows_of_a_class_is_not_judged() -> None:
    truth = np.array([0] * 100 + [1] * (ground_truth.FEW - 1))
    facts = {"classes": {label: {"precision": 1.0, "recall": 1.0} for label in "ab"}}
    said = np.eye(2)[np.zeros(len(truth), dtype=int)]
    times = np.full(len(truth), 1_790_000_000.0)
    weeks = ground_truth.weekly(times, truth, said, facts, ["a", "b"], Performance())
    assert [(week.label, week.figure) for week in weeks] == [("a", "precision"), ("a", "recall")]
