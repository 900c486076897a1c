"""lifecycle drift, labels and performance on a project with a model in production."""

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from click.testing import CliRunner, Result
from lifecycle import cli, settings
from lifecycle.data.arrays import from_frame
from lifecycle.errors import DataError, LifecycleError
from lifecycle.monitoring import performance
from lifecycle.monitoring.profile import Profile
from lifecycle.monitoring.serving_stats import Recorder
from lifecycle.project import Project
from lifecycle.registry.base import PRODUCTION, STAGING, open_registry
from projects import STEPS, run


def lifecycle(*words: str | Path) -> Result:
    return CliRunner().invoke(cli.app, [str(word) for word in words])


def serve(project: Project, frame: pd.DataFrame) -> list[str]:
    """Serve rows as a server of this project would, and return the ids of the predictions."""
    model = performance.live_model(project)
    recorder = Recorder(Profile.read(model.folder), project.windows, model.version, 60, model.anomaly_rules)
    recorder.start()
    columns = from_frame(frame, model.schema.columns)
    ids = recorder.add(columns, model.predict_arrays(columns))
    recorder.close()
    return ids


def holdout(project: Project) -> pd.DataFrame:
    declared = project.load("schema").SCHEMA.columns
    return pd.read_parquet(project.holdout)[list(declared)]


def target_of(project: Project) -> str:
    return project.load("schema").TARGET


def write_labels(project: Project, ids: list[str], labels: Any, name: str = "labels.csv") -> Path:
    path = project.root / name
    frame = pd.DataFrame({"id": ids, "label": labels})
    frame.to_csv(path) if path.suffix == ".csv" else frame.to_parquet(path)
    return path


def test_a_verdict_on_what_was_served(project: Project, tmp_path: Path) -> None:
    few = lifecycle("drift")
    assert few.exit_code == 3 and "insufficient data: 0 rows; a verdict needs 500" in few.output
    rows = pd.concat([holdout(project)] * 3)
    rows["distance_km"] = rows["distance_km"] * 1.3 + 0.5
    serve(project, rows)
    page = tmp_path / "pages/drift.html"
    found = lifecycle("drift", "--html", page)
    assert found.exit_code == 2, found.output
    assert found.stdout.startswith(f"served: {len(rows):,} rows against the training data of ")
    assert "drift: moved: " in found.stdout and "distance_km" in found.stdout
    assert f"<title>{project.name}: drift</title>" in page.read_text() and str(page) in found.output
    facts = json.loads(lifecycle("drift", "--json").stdout)
    assert facts["version"] == performance.live_model(project).version and facts["rows"] == len(rows)
    assert {"distance_km"} <= {item["name"] for item in facts["features"] if item["drifted"]}


def test_a_verdict_on_a_file(project: Project, tmp_path: Path) -> None:
    path, rows = tmp_path / "rows.parquet", pd.read_parquet(project.valid)
    rows.to_parquet(path)
    same = lifecycle("drift", path)
    assert same.exit_code == 0 and f"{path}: {len(rows):,} rows" in same.output and "no drift" in same.output
    rows["distance_km"] = -5.0
    rows.to_parquet(path)
    with pytest.raises(DataError, match="distance_km"):
        raise lifecycle("drift", path).exception or AssertionError


def test_the_labels_of_what_was_served_make_a_verdict(project: Project) -> None:
    rows = pd.concat([holdout(project)] * 2, ignore_index=True)
    ids, truth = serve(project, rows), rows[target_of(project)].to_numpy()
    none = lifecycle("performance")
    assert none.exit_code == 3 and "0 labelled rows; a verdict needs 200" in none.output
    taken = lifecycle("labels", write_labels(project, ids, truth))
    assert f"{len(ids):,} labels kept; {len(ids):,} are of predictions by" in taken.output
    same = lifecycle("performance")
    assert same.exit_code == 0 and "same: MAE" in same.output and "95 % confidence" in same.output
    taken = lifecycle("labels", write_labels(project, ids, truth * 3 + 60, "labels.parquet"))
    assert "far from them, in the anomaly log" in taken.output
    worse = lifecycle("performance", "--json")
    facts = json.loads(worse.stdout)
    assert worse.exit_code == 2 and facts["verdict"] == "worse" and facts["labels_moved"]
    assert facts["value"] > 3 * facts["expected"] and "labels moved: PSI" in facts["why"]
    (log,) = project.windows.glob("*/anomalies/*-labels.jsonl")
    far = [json.loads(line) for line in log.read_text().splitlines()]
    assert set(far[0]) == {"id", "at", "why"} and {line["id"] for line in far} <= set(ids)


def test_labels_of_others_are_kept_and_unknown_ones_refused(classifier_project: Project) -> None:
    kept = lifecycle("labels", write_labels(classifier_project, ["x-1"], classes_of(classifier_project)[:1]))
    assert "1 labels kept; 0 are of predictions by" in kept.output
    refused = lifecycle("labels", write_labels(classifier_project, ["x-1"], ["perhaps"]))
    assert isinstance(refused.exception, DataError) and "perhaps" in str(refused.exception)


def classes_of(project: Project) -> list[Any]:
    return performance.live_model(project).schema.classes


def test_the_weeks_of_a_class_are_shown(classifier_project: Project) -> None:
    project = classifier_project
    rows = pd.concat([holdout(project)] * 3, ignore_index=True)
    ids, classes = serve(project, rows), classes_of(project)
    lifecycle("labels", write_labels(project, ids, rows[target_of(project)].to_numpy()))
    same = lifecycle("performance")
    assert same.exit_code == 0, same.output
    assert "precision" in same.output and "recall" in same.output and "log loss" in same.output
    wrong = rows[target_of(project)].map(dict(zip(classes, classes[::-1], strict=True)))
    lifecycle("labels", write_labels(project, ids, wrong.to_numpy()))
    facts = json.loads(lifecycle("performance", "--json").stdout)
    assert facts["verdict"] == "worse" and any(week["dropped"] for week in facts["weeks"])
    assert "precision of" in facts["why"] and facts["weeks"][-1]["week"] in facts["why"]


def release(project: Project, iterations: int) -> str:
    """Train with so many iterations and promote, though production may be better; return the version."""
    text = f"split: {{holdout: 0.2}}\nmodel: {{max_iter: {iterations}}}\n"
    project.params.write_text(text + "gate: {max_latency_ms: 1000, compare_with_live: false}\n")
    run(project, *STEPS)
    open_registry(project).promote(STAGING, PRODUCTION, "Ada", "a release")
    return performance.live_model(project).version


def test_a_file_with_the_target_is_predicted_by_both_versions(project: Project, tmp_path: Path) -> None:
    path = tmp_path / "rows.parquet"
    holdout(project).to_parquet(path)
    alone = performance.check(project, path)
    assert (alone.verdict, alone.previous) == ("same", None)
    release(project, iterations=2)
    found = performance.check(project, path)
    assert found.verdict == "worse" and found.previous and found.value
    assert found.previous == pytest.approx(alone.value) and found.value > found.previous * 1.1
    assert "by the version before on the same rows" in found.why
    assert lifecycle("performance", path).exit_code == 2
    open_registry(project).rollback(PRODUCTION, "Ada", "worse")
    assert performance.check(project, path).previous is None


def test_a_file_is_judged_without_a_version_before_that_was_pruned(project: Project, tmp_path: Path) -> None:
    path, first = tmp_path / "rows.parquet", performance.live_model(project).version
    holdout(project).to_parquet(path)
    release(project, iterations=41)
    stored = [path for path in project.root.rglob("model.onnx") if first in str(path)]
    for path_of_model in stored:
        path_of_model.write_bytes(b"damaged")
    assert stored
    assert performance.check(project, path).previous is None


def test_only_a_version_before_with_the_smaller_error_is_better(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LIFECYCLE_DRIFT__MIN_ROWS", "100")
    release(project, iterations=2)
    assert performance.better_before(project, open_registry(project))
    release(project, iterations=41)
    assert not performance.better_before(project, open_registry(project))


def test_what_cannot_be_compared_is_not_better_and_says_why(
    project: Project, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    registry = open_registry(project)
    assert not performance.better_before(project, registry)
    assert "the version before cannot be compared: none is before it" in capsys.readouterr().err
    release(project, iterations=2)
    with monkeypatch.context() as patch:
        patch.setenv("LIFECYCLE_DRIFT__MIN_ROWS", "100000")
        assert not performance.better_before(project, registry)
    assert "rows with a label and a time, 100,000 are needed" in capsys.readouterr().err
    (project.root / "data/deliveries.parquet").unlink()
    assert not performance.better_before(project, registry)
    assert "load() failed" in capsys.readouterr().err


def test_without_a_model_in_production_each_command_says_what_to_do(
    project: Project, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("REGISTRY_URI", (tmp_path / "empty").as_uri())
    path = write_labels(project, ["x-1"], [1.0])
    for words in (("drift",), ("drift", project.holdout), ("performance",), ("labels", path)):
        found = lifecycle(*words)
        assert isinstance(found.exception, LifecycleError) and "no version is in production" in str(
            found.exception
        )
    assert settings.load(project).performance.min_rows == 200
