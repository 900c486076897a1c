"""Each step of the template's pipeline.py: what it writes and refuses, and that a rerun changes nothing."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from lifecycle.errors import DataError, DigestMismatch, LifecycleError
from lifecycle.files import write_parquet
from lifecycle.model.package import FILES, MANIFEST, digest, verify
from lifecycle.project import Project
from lifecycle.registry.base import PRODUCTION, STAGING, open_registry, production_model
from lifecycle.settings import Split
from lifecycle.training.dataset import split
from projects import run


def digests(folder: Path) -> dict[str, str]:
    return {name: digest(folder / name) for name in FILES}


def test_ingest_writes_what_load_returns(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = pd.read_parquet(project.raw).head(7)
    monkeypatch.setattr(project.load("data"), "load", lambda: rows)
    assert run(project, "ingest") == "7 rows, 11 columns"
    assert len(pd.read_parquet(project.raw)) == 7


def test_ingest_reads_relative_to_the_project(
    project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project.raw.unlink()
    monkeypatch.chdir(tmp_path)
    run(project, "ingest")
    assert project.raw.is_file() and Path.cwd() == tmp_path


@pytest.mark.parametrize("returned", [pd.DataFrame(), None])
def test_ingest_says_when_there_are_no_rows(
    project: Project, monkeypatch: pytest.MonkeyPatch, returned: Any
) -> None:
    monkeypatch.setattr(project.load("data"), "load", lambda: returned)
    with pytest.raises(DataError, match=r"data\.py: load\(\) returned no rows"):
        run(project, "ingest")


def test_ingest_says_what_cannot_be_read(project: Project) -> None:
    (project.root / "data/deliveries.parquet").unlink()
    with pytest.raises(DataError, match=r"data\.py: load\(\) failed: .*deliveries\.parquet"):
        run(project, "ingest")


def test_validate_stops_before_anything_is_written(project: Project) -> None:
    project.valid.unlink()
    raw = pd.read_parquet(project.raw)
    write_parquet(raw.drop(columns=raw.columns[0]), project.raw)
    with pytest.raises(DataError, match="Nothing after validate was run"):
        run(project, "validate")
    assert not project.valid.exists()


def test_a_step_says_which_file_is_not_here(project: Project) -> None:
    for step, path in (("validate", project.raw), ("train", project.valid), ("evaluate", project.training)):
        path.unlink()
        with pytest.raises(LifecycleError, match=f"{path.name} is not here"):
            run(project, step)


@pytest.mark.parametrize("fixture", ["project", "classifier_project"])
def test_training_twice_gives_the_same_bytes(fixture: str, request: pytest.FixtureRequest) -> None:
    project = request.getfixturevalue(fixture)
    before, holdout = digests(project.candidate), digest(project.holdout)
    environment = (project.artifacts / "environment.json").read_text()
    run(project, "ingest", "validate", "train")
    assert digests(project.candidate) == before
    assert digest(project.holdout) == holdout
    assert (project.artifacts / "environment.json").read_text() == environment
    assert not (project.candidate / MANIFEST).exists(), "a new candidate must pass the gate again"


def test_the_newest_rows_are_held_out(project: Project) -> None:
    rows, holdout = pd.read_parquet(project.valid), pd.read_parquet(project.holdout)
    assert len(holdout) == round(len(rows) * 0.2)
    assert holdout["ordered_at"].min() >= rows["ordered_at"].sort_values().iloc[-len(holdout)]


def test_without_a_time_the_split_is_random_and_repeatable() -> None:
    frame = pd.DataFrame({"x": range(100)})
    older, holdout = split(frame, None, Split(holdout=0.25))
    assert len(older) == 75 and sorted([*older.x, *holdout.x]) == list(range(100))
    assert holdout.x.tolist() != list(range(75, 100))
    assert split(frame, None, Split(holdout=0.25))[1].x.tolist() == holdout.x.tolist()
    assert split(frame, None, Split(holdout=0.25, seed=1))[1].x.tolist() != holdout.x.tolist()
    with pytest.raises(DataError, match="2 rows are too few"):
        split(frame.head(2), None, Split())


def test_a_model_of_another_task_is_refused(
    project: Project, classifier_project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(project.load("model"), "build", classifier_project.load("model").build)
    with pytest.raises(LifecycleError, match=r"schema\.py says regression, but model\.py builds another"):
        run(project, "train")


def test_one_class_is_too_few(classifier_project: Project) -> None:
    rows = pd.read_parquet(classifier_project.valid)
    write_parquet(rows[rows["late"] == "on_time"], classifier_project.valid)
    with pytest.raises(DataError, match="only one class of late: on_time"):
        run(classifier_project, "train")


def test_a_class_that_training_never_saw_is_named(classifier_project: Project) -> None:
    holdout = pd.read_parquet(classifier_project.holdout)
    write_parquet(holdout.assign(late="never seen"), classifier_project.holdout)
    with pytest.raises(DataError, match="classes of late that training never saw: never seen"):
        run(classifier_project, "evaluate")


def test_the_profile_says_what_matters(project: Project) -> None:
    profile = json.loads((project.candidate / "profile.json").read_text())
    importance = {name: facts.get("importance") for name, facts in profile["features"].items()}
    assert importance["distance_km"] == max(value for value in importance.values() if value is not None)
    assert "ordered_at" not in importance and importance["(prediction)"] is None
    assert np.sum(profile["labels"]["counts"]) == 1600


def test_a_changed_file_is_refused(project: Project) -> None:
    model = project.candidate / "model.onnx"
    model.write_bytes(model.read_bytes()[:-1] + b"\0")
    with pytest.raises(DigestMismatch, match=r"model\.onnx"):
        run(project, "register")


def test_a_rerun_of_register_changes_nothing(project: Project) -> None:
    registry, registered = open_registry(project), project.artifacts / "registered.json"
    versions, moves, text = registry.versions(), registry.history(), registered.read_text()
    run(project, "register")
    assert (registry.versions(), registry.history(), registered.read_text()) == (versions, moves, text)
    version = verify(project.candidate).version
    assert json.loads(text)["version"] == version
    assert registry.aliases() == {STAGING: version, PRODUCTION: version}


def test_a_second_version_goes_to_production_and_back(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry, first = open_registry(project), verify(project.candidate).version
    live = production_model(project)
    assert live is not None and verify(live).version == first

    monkeypatch.setenv("LIFECYCLE_SPLIT__HOLDOUT", "0.3")
    monkeypatch.setenv("LIFECYCLE_GATE__COMPARE_WITH_LIVE", "false")
    run(project, "train", "evaluate", "register")
    second = verify(project.candidate).version
    registry.promote(STAGING, PRODUCTION, "Ada", "more data")
    assert registry.aliases()[PRODUCTION] == second != first
    assert registry.rollback(PRODUCTION, "Grace", "worse").version == first
    moves = [(move.action, move.version) for move in registry.history() if move.alias == PRODUCTION]
    assert moves == [("promote", first), ("promote", second), ("rollback", first)]
