"""What follows from a look at production, with a real registry and real counts: decided, done, told."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import Project, render
from services.troubles import Heard, listening

pytestmark = pytest.mark.slow

# Runs commands, webhooks and counts of rows in one process: starting Python takes longer than all of them.
DRIVER = """
import contextlib, io, json, shutil, sys
import pandas as pd
from lifecycle import cli, columns, project, webhooks
from lifecycle.monitoring.profile import Profile
from lifecycle.monitoring.windows import Recorder
from lifecycle.registry.contract import live_model
from lifecycle.serving.predictor import Predictor

def serve(file, rows, rejected):
    shutil.rmtree(project.WINDOWS, ignore_errors=True)
    folder = live_model()
    predictor = Predictor(folder)
    recorder = Recorder(Profile.read(folder), project.WINDOWS, predictor.version, 60)
    arrays = columns.from_frame(pd.read_parquet(file).tail(rows), predictor.schema.columns)
    predicted = predictor.predict_arrays(arrays)
    answered[:] = zip(recorder.add(arrays, predicted), predicted)
    recorder.reject(rejected)
    recorder.flush()
    return 0

def late(error):
    "Labels that differ so much from what was answered come."
    rows = [(name, value + error) for name, value in answered]
    pd.DataFrame(rows, columns=["id", "label"]).to_csv("late.csv", index=False)
    return command(["labels", "late.csv"])

def command(words):
    sys.argv = ["lifecycle", *words]
    try:
        cli.main()
    except SystemExit as end:
        return end.code or 0

def hook(body):
    status, said = webhooks.answer(json.dumps(body).encode())
    print(json.dumps(said))
    return status

results, answered = [], []
for kind, *given in json.loads(sys.argv[1]):
    out = io.StringIO()
    known = {"serve": serve, "late": late, "hook": hook}
    with contextlib.redirect_stdout(out):
        code = known[kind](*given) if kind in known else command([kind, *given])
    results.append((code, out.getvalue()))
print(json.dumps(results))
"""
QUIET, MOVED = "data/deliveries.parquet", "data/recent.parquet"
WORSE = {"alerts": [{"status": "firing", "labels": {"alertname": "Errors", "action": "roll back"}}]}
LIVE = ("versions", "--json")
FOUND = ("decisions", "--json")


def run(project: Project, *commands: tuple, **env: str) -> list[tuple[int, str]]:
    """Run commands one after the other; returns exit code (or HTTP status) and output of each."""
    done = project.python("-c", DRIVER, json.dumps(commands), **env)
    print(done.stderr)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def serve(file: str, rows: int = 2000, rejected: int = 0) -> tuple:
    """Count rows of a file as the server does, instead of those before."""
    return "serve", file, rows, rejected


def live(output: str) -> list[str]:
    """Return, the newest version first, which one is live."""
    return ["live" if "production" in item["aliases"] else "" for item in json.loads(output)]


def found(output: str) -> list[tuple[str, str, int]]:
    items = json.loads(output)
    return [(item["drift"] or item["service"], item["did"], item["times"]) for item in items]


@pytest.fixture(scope="module")
def heard() -> Iterator[Heard]:
    with listening() as heard:
        yield heard


@pytest.fixture(scope="module")
def released(template: Path, environment: Path, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A project after a second release, of a model that is worse: do not change it."""
    path = render(template, tmp_path_factory.mktemp("released") / "churn", registry="s3")
    shutil.copy(environment / "uv.lock", path)
    project = Project(path, environment)
    steps = [(step,) for step in ("ingest", "validate", "train", "evaluate", "register")]
    done = run(project, *steps, ("promote", "--why", "first release"))
    bars = {"LIFECYCLE_GATE__COMPARE_WITH_LIVE": "false", "LIFECYCLE_MODEL__MAX_ITER": "20"}
    done += run(project, *steps[2:], ("promote", "--why", "second release"), **bars)
    assert [code for code, _ in done] == [0] * 10
    return project


@pytest.fixture
def project(released: Project, heard: Heard, tmp_path: Path) -> Project:
    shutil.copytree(released.path, tmp_path / "churn", symlinks=True)
    heard.take()
    return Project(tmp_path / "churn", released.venv, dict(heard.env))


def test_drift_retrains_is_told_once_and_recorded(project: Project, heard: Heard) -> None:
    quiet, moved = (serve(QUIET), ("due",)), (serve(MOVED), ("due",), ("due",))
    ran = run(project, *quiet, *moved, FOUND, ("decisions",))
    assert [code for code, _ in ran] == [0, 0, 0, 2, 75, 0, 0]
    assert ran[1][1].startswith("no drift: ") and ran[3][1].startswith("drift: moved: ")
    assert heard.done == ["retraining was asked for"]
    alerts, _ = heard.take()
    assert len(alerts) == 1, "the same again within a day"
    assert "drift: moved: " in alerts[0]
    assert found(ran[5][1]) == [("no drift", "nothing", 1), ("drift", "retrain", 2)]
    assert "moved: " in ran[6][1]


def test_worse_performance_rolls_back_a_release_and_then_retrains(project: Project, heard: Heard) -> None:
    """Measured by labels that came later; as good as at the gate, nothing is done."""
    bars = {"LIFECYCLE_RETRAIN__COOLDOWN_HOURS": "0"}
    good, bad = (serve(QUIET), ("late", 0.0), ("due",), LIVE), (serve(QUIET), ("late", 50.0), ("due",), LIVE)
    ran = run(project, *good, *bad, *bad, FOUND, **bars)
    assert [code for code, _ in ran] == [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0]
    assert live(ran[3][1])[0] == "live" and live(ran[7][1]) == ["", "live"] == live(ran[11][1])
    assert ran[10][1].startswith("performance: ")
    assert found(ran[12][1]) == [("no drift", do, 1) for do in ("nothing", "roll back", "retrain")]
    assert len(heard.take()[0]) == 2


def test_broken_data_blocks_retraining_on_new_data_too(project: Project, heard: Heard) -> None:
    ran = run(project, serve(MOVED, rejected=1000), ("due",), ("due",), FOUND)
    assert [code for code, _ in ran] == [0, 4, 4, 0]
    assert ran[1][1].startswith("broken data: 1,000 of 3,000 rows")
    assert len(heard.take()[0]) == 1 and found(ran[3][1]) == [("broken data", "alert", 2)]


def test_new_data_is_the_reason_whatever_was_served(project: Project, heard: Heard) -> None:
    """It stands alone on stdout: what starts the retraining hands it on."""
    lock = {"ingest": {"cmd": "lifecycle ingest", "deps": [{"path": "data", "md5": "0.dir"}]}}
    (project.path / "dvc.lock").write_text(json.dumps({"schema": "2.0", "stages": lock}))
    ran = run(project, serve(QUIET), ("due",), serve(QUIET, rejected=1000), ("due",))
    assert ran[1][0] == 2 and ran[1][1].startswith("new data: ") and ran[1][1].count("\n") == 1
    assert ran[3][0] == 4 and "left out: new data: " in ran[3][1]
    assert len(heard.take()[0]) == 1


def test_few_rows_are_no_reason_for_anything(project: Project, heard: Heard) -> None:
    ran = run(project, serve(MOVED, 100, 300), ("due",))
    assert ran[1][0] == 3 and ran[1][1].startswith("insufficient data")
    assert heard.take()[0] == []


def test_in_maintenance_all_is_recorded_and_nothing_done(project: Project, heard: Heard) -> None:
    window = '["2020-01-01/2120-01-01"]'
    commands = [serve(MOVED), ("due",), ("hook", WORSE), LIVE, FOUND]
    ran = run(project, *commands, LIFECYCLE_POLICY__MAINTENANCE=window)
    assert ran[1][0] == 0 and "maintenance (2020-01-01/2120-01-01)" in ran[1][1]
    assert json.loads(ran[2][1].splitlines()[-1]) == {"done": "held back"}
    assert live(ran[3][1]) == ["live", ""]
    assert [did for _, did, _ in found(ran[4][1])] == ["held back", "held back"]
    assert heard.take()[0] == []


def test_errors_after_a_release_roll_it_back_once(project: Project, heard: Heard) -> None:
    ran = run(project, ("hook", WORSE), LIVE, ("hook", WORSE), LIVE, ("history", "--json"))
    said = [json.loads(ran[place][1].splitlines()[-1])["done"] for place in (0, 2)]
    assert said == ["roll back", "alert"], "what was put back stays"
    assert live(ran[1][1]) == live(ran[3][1]) == ["", "live"]
    assert "in the registry only: run make rollback where it is served" in heard.done[0]
    assert "service: alert: Errors" in heard.take()[0][0]
    move = json.loads(ran[4][1])[-1]
    assert move["action"] == "rollback" and move["by"].startswith("policy@")
    assert move["reason"] == "service: alert: Errors"


def test_errors_long_after_a_release_are_told_only(project: Project, heard: Heard) -> None:
    ran = run(project, ("hook", WORSE), LIVE, LIFECYCLE_POLICY__RELEASE_HOURS="0")
    assert live(ran[1][1]) == ["live", ""] and len(heard.take()[0]) == 1


def test_what_prometheus_only_tells_is_told_once(project: Project, heard: Heard) -> None:
    firing = {"status": "firing", "labels": {"alertname": "ModelDown", "action": "tell"}}
    hook = ("hook", {"alerts": [firing | {"annotations": {"summary": "nothing answers"}}]})
    ran = run(project, hook, hook, LIVE)
    assert [code for code, _ in ran] == [202, 202, 0] and live(ran[2][1]) == ["live", ""]
    assert heard.take()[0] == ["churn: ModelDown (nothing answers)"]


ASKED = {
    "LIFECYCLE_POLICY__ROLLBACK_ON_DRIFT": "true",
    "LIFECYCLE_POLICY__LEAST_CHECKS": "3",
    "LIFECYCLE_DRIFT__WINDOW_HOURS": "336",
}


def test_drift_that_persists_rolls_back_to_a_better_version(project: Project, heard: Heard) -> None:
    ran = run(project, serve(MOVED), ("due",), ("due",), ("due",), LIVE, FOUND, **ASKED)
    assert [code for code, _ in ran[1:4]] == [2, 75, 0]
    assert live(ran[4][1]) == ["", "live"], "the first release was the better one"
    assert [did for _, did, _ in found(ran[5][1])] == ["retrain", "roll back"]
    assert any("rolled back to" in text for text in heard.done)


def test_drift_that_persists_stays_with_the_better_version(project: Project, heard: Heard) -> None:
    first = json.loads(run(project, LIVE)[0][1])[1]["version"]
    third = ("promote", first, "--why", "third release, and the one before it is worse")
    ran = run(project, third, serve(MOVED), ("due",), ("due",), ("due",), LIVE, FOUND, **ASKED)
    assert [code for code, _ in ran[2:5]] == [2, 75, 75]
    assert live(ran[5][1]) == ["", "live"] and found(ran[6][1]) == [("drift", "retrain", 3)]
    assert not any("rolled back" in text for text in heard.done)


def test_what_cannot_be_rolled_back_is_said(project: Project, heard: Heard) -> None:
    """deploy/docker/rollback.sh finds something deployed, and fails: the registry stays as it is."""
    script = project.path / "deploy/docker/rollback.sh"
    script.write_text("#!/bin/sh\necho 'error: v1 did not get healthy' >&2\nexit 1\n")
    (project.path / "bin").mkdir()
    (project.path / "bin/docker").symlink_to("/bin/true")
    path = f"{project.path}/bin:{project.environment()['PATH']}"
    (status, _), (_, versions) = run(project, ("hook", WORSE), LIVE, PATH=path)
    assert status == 503 and live(versions) == ["live", ""]
    assert any("not done: roll back" in text and "did not get healthy" in text for text in heard.done)
