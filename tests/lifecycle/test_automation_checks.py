"""What follows from a check of production, with a real registry and real counts: decided, done, reported."""

import itertools
import json
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from lifecycle.automation import checks, webhooks
from lifecycle.automation.checks import react, recorded, released, run_check
from lifecycle.automation.policy import Check
from lifecycle.automation.retraining import begin
from lifecycle.cli import app
from lifecycle.data.arrays import from_frame
from lifecycle.errors import DRIFT, INSUFFICIENT_DATA, Busy, LifecycleError
from lifecycle.model.predictor import Predictor
from lifecycle.monitoring import performance
from lifecycle.monitoring.profile import Profile
from lifecycle.monitoring.serving_stats import Recorder
from lifecycle.project import VARIABLE, Project
from lifecycle.registry.base import PRODUCTION, STAGING, open_registry, production_model
from lifecycle.state.store import open_state
from projects import TEMPLATE, copy_project, run
from services.heard import Heard, listening

BROKEN = 4
WORSE = {"alerts": [{"status": "firing", "labels": {"alertname": "Errors", "action": "roll back"}}]}
QUIET, MOVED = "data/deliveries.parquet", TEMPLATE / "data/recent.parquet"


@pytest.fixture(scope="session")
def two_releases(trained: Project, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A project after a second release, of a model that is worse: not to be changed."""
    project = copy_project(trained, tmp_path_factory.mktemp("released") / "project")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LIFECYCLE_GATE__COMPARE_WITH_LIVE", "false")
        patch.setenv("LIFECYCLE_MODEL__MAX_ITER", "12")
        run(project, "train", "evaluate", "register")
    open_registry(project).promote(STAGING, PRODUCTION, "Ada", "second release")
    return project


@pytest.fixture
def heard(monkeypatch: pytest.MonkeyPatch) -> Iterator[Heard]:
    with listening() as heard:
        for name, value in heard.env.items():
            monkeypatch.setenv(name, value)
        yield heard


@pytest.fixture
def project(two_releases: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, heard: Heard) -> Project:
    monkeypatch.setenv(VARIABLE, str(tmp_path / "project"))
    monkeypatch.setenv(
        "LIFECYCLE_DRIFT__MAX_NEW", "0.5"
    )  # it snows in the recent rows, never in training's few
    return copy_project(two_releases, tmp_path / "project")


def serve(project: Project, file: str | Path, rows: int = 2000, rejected: int = 0) -> list[tuple[str, float]]:
    """Count rows of a file as the server does, instead of those before; return id and prediction."""
    shutil.rmtree(project.windows, ignore_errors=True)
    folder = production_model(project)
    assert folder
    model = Predictor(folder, project.features.build)
    recorder = Recorder(Profile.read(folder), project.windows, model.version, 60)
    arrays = from_frame(pd.read_parquet(project.root / file).tail(rows), model.schema.columns)
    predicted = model.predict_arrays(arrays)
    ids = recorder.add(arrays, predicted)
    recorder.reject(rejected)
    recorder.flush()
    return list(zip(ids, predicted, strict=True))


def labels(project: Project, answered: list[tuple[str, float]], error: float) -> None:
    """Let labels come that differ so much from what was answered."""
    rows = [(name, value + error) for name, value in answered]
    pd.DataFrame(rows, columns=["id", "label"]).to_csv(project.root / "late.csv", index=False)
    performance.take_labels(project, project.root / "late.csv")


def hook(project: Project, payload: Any) -> tuple[int, dict[str, str]]:
    return webhooks.answer(project, json.dumps(payload).encode())


def releases(project: Project) -> tuple[str, str]:
    """Return the version that was released second, and the first: both may be of the same second."""
    moves = [move for move in open_registry(project).history() if move.alias == PRODUCTION]
    return moves[1].version, moves[0].version


def live(project: Project) -> list[str]:
    """Return, of these two, which one is in production."""
    now = open_registry(project).resolve(PRODUCTION)
    return ["live" if version == now else "" for version in releases(project)]


def found(project: Project) -> list[tuple[str, str, int]]:
    checks, _ = recorded(open_state(project))
    return [(check.drift or check.service, check.did, check.times) for check in checks]


def command(*words: str) -> int:
    try:
        return int(app(list(words), standalone_mode=False) or 0)
    except SystemExit as end:
        return int(end.code or 0)


def test_drift_retrains_is_reported_once_and_recorded(
    project: Project, heard: Heard, capsys: pytest.CaptureFixture[str]
) -> None:
    serve(project, QUIET)
    assert run_check(project)[0].startswith("no drift: ") and command("due") == 0
    serve(project, MOVED)
    text, code = run_check(project)
    assert code == DRIFT and text.startswith("drift: moved: ")
    assert heard.done == ["retraining was asked for"]
    with pytest.raises(Busy, match=r"the last start was 0 min ago \(drift: moved: "):
        run_check(project)
    alerts, _ = heard.take()
    assert len(alerts) == 1 and "drift: moved: " in alerts[0], "the same again within a day"
    assert found(project) == [("no drift", "nothing", 2), ("drift", "retrain", 2)]
    assert command("decisions") == 0 and "moved: " in capsys.readouterr().out
    assert recorded(open_state(project))[0][-1].ks["distance_km"] > 0.1


def test_worse_performance_rolls_back_a_release_and_then_retrains(
    project: Project, heard: Heard, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Measured by labels that came later; as good as at the gate, nothing is done."""
    monkeypatch.setenv("LIFECYCLE_RETRAIN__COOLDOWN_HOURS", "0")
    labels(project, serve(project, QUIET), 0.0)
    assert run_check(project)[1] == 0 and live(project) == ["live", ""]
    labels(project, serve(project, QUIET), 50.0)
    assert run_check(project)[1] == 0 and live(project) == ["", "live"]
    labels(project, serve(project, QUIET), 50.0)
    text, code = run_check(project)
    assert code == DRIFT and text.startswith("performance: ") and live(project) == ["", "live"]
    assert found(project) == [("no drift", do, 1) for do in ("nothing", "roll back", "retrain")]
    assert len(heard.take()[0]) == 2


def test_broken_data_blocks_retraining(project: Project, heard: Heard) -> None:
    serve(project, MOVED, rejected=1000)
    for _ in range(2):
        text, code = run_check(project)
        assert code == BROKEN and text.startswith("broken data: 1,000 of 3,000 rows")
    assert len(heard.take()[0]) == 1 and found(project) == [("broken data", "alert", 2)]


def test_new_data_is_the_reason_whatever_was_served(
    project: Project, heard: Heard, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It stands alone: what starts the retraining hands it on. By a real DVC."""
    dvc = Path(sys.executable).with_name("dvc")
    subprocess.run([dvc, "init", "-q", "--no-scm"], cwd=project.root, check=True)
    stage = {"cmd": "lifecycle ingest", "deps": ["data"], "outs": ["artifacts/raw.parquet"]}
    (project.root / "dvc.yaml").write_text(json.dumps({"stages": {"ingest": stage}}))
    lock = {"ingest": {"cmd": "lifecycle ingest", "deps": [{"path": "data", "md5": "0.dir"}]}}
    (project.root / "dvc.lock").write_text(json.dumps({"schema": "2.0", "stages": lock}))
    serve(project, QUIET)
    assert run_check(project) == ("new data: data modified", DRIFT)
    serve(project, QUIET, rejected=1000)
    text, code = run_check(project)
    assert code == BROKEN and "skipped: new data: " in text and len(heard.take()[0]) == 1
    monkeypatch.setenv("LIFECYCLE_POLICY__MAINTENANCE", '["2020-01-01/2120-01-01"]')
    serve(project, QUIET)
    text, code = run_check(project)
    assert code == 0 and "skipped: new data: data modified: maintenance (2020-01-01/2120-01-01)" in text


def test_few_rows_are_no_reason_for_anything(project: Project, heard: Heard) -> None:
    serve(project, MOVED, 100, 300)
    text, code = run_check(project)
    assert code == INSUFFICIENT_DATA and text.startswith("insufficient data")
    assert heard.take()[0] == []


def test_in_maintenance_all_is_recorded_and_nothing_done(
    project: Project, heard: Heard, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LIFECYCLE_POLICY__MAINTENANCE", '["2020-01-01/2120-01-01"]')
    serve(project, MOVED)
    text, code = run_check(project)
    assert code == 0 and "maintenance (2020-01-01/2120-01-01)" in text
    assert hook(project, WORSE) == (200, {"done": "held back"})
    assert live(project) == ["live", ""]
    assert [did for _, did, _ in found(project)] == ["held back", "held back"]
    assert heard.take()[0] == []


def test_errors_after_a_release_roll_it_back_once(project: Project, heard: Heard) -> None:
    assert hook(project, WORSE) == (202, {"done": "roll back"})
    assert live(project) == ["", "live"]
    assert hook(project, WORSE) == (202, {"done": "alert"}), "what was put back stays"
    assert live(project) == ["", "live"]
    assert "in the registry only: run make rollback where it is served" in heard.done[0]
    assert "service: alert: Errors" in heard.take()[0][0]
    move = open_registry(project).history()[-1]
    assert move.action == "rollback" and move.by.startswith("policy@")
    assert move.reason == "service: alert: Errors"


def test_errors_long_after_a_release_are_reported_only(
    project: Project, heard: Heard, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LIFECYCLE_POLICY__RELEASE_HOURS", "0")
    assert hook(project, WORSE) == (202, {"done": "alert"})
    assert live(project) == ["live", ""] and len(heard.take()[0]) == 1


def test_a_decision_is_void_once_production_has_moved(project: Project, heard: Heard) -> None:
    """Somebody promotes while a check is judged: what serves now was not what was found bad."""
    registry = open_registry(project)
    bad, older = releases(project)
    late = Check(bad, released(registry) + 60, service="worse", why="x", released=released(registry))
    registry.promote(older, PRODUCTION, "Ada", "the errors")
    assert react(project, late).do == "roll back"
    assert live(project) == ["", "live"] and heard.done == [f"nothing: {older} is in production by now"]
    again = Check(older, late.at, service="worse", why="x", released=late.released)
    react(project, again)
    assert live(project) == ["", "live"], "promoted anew: that is another release"


STEPS = ("judge", "react", "promote", "alert", "repeat")
ORDERS = [
    order
    for order in itertools.permutations(STEPS)
    if order.index("judge") < min(order.index("react"), order.index("promote"))
    and order.index("alert") < order.index("repeat")
]


@pytest.mark.parametrize("order", ORDERS, ids="-".join)
def test_what_was_promoted_since_is_never_rolled_back(
    project: Project, heard: Heard, order: tuple[str, ...]
) -> None:
    """The errors began with the second release; whatever comes before or after, the fix for them stays."""
    registry, began, judged, fix = open_registry(project), datetime.now(UTC), [], ""
    payload = {"alerts": [WORSE["alerts"][0] | {"startsAt": began.isoformat(), "fingerprint": "f00"}]}
    time.sleep(0.002)  # the history is in milliseconds
    for step in order:
        now = registry.resolve(PRODUCTION)
        if step == "judge":
            facts = {"service": "worse", "why": "x", "released": released(registry)}
            judged = [Check(now, time.time(), **facts)]
        elif step == "react":
            react(project, judged[0])
        elif step == "promote":
            fix = next(version for version in releases(project) if version != now)
            registry.promote(fix, PRODUCTION, "Ada", "the errors")
        else:
            assert hook(project, payload)[0] in (200, 202)
    assert registry.resolve(PRODUCTION) == fix
    rollbacks = [move for move in registry.history() if move.action == "rollback"]
    acted_before = {"react", "alert"} & set(order[: order.index("promote")])
    assert len(rollbacks) == bool(acted_before)


@pytest.mark.parametrize(
    ("minutes", "notes", "stays"),
    [
        (1, {}, False),
        (-1, {}, True),
        (4, {"for": "5m"}, True),
        (6, {"for": "5m"}, False),
        (4, {"for": "1h"}, True),
    ],
)
def test_errors_that_began_before_a_release_do_not_count_against_it(
    project: Project, heard: Heard, minutes: int, notes: dict[str, str], stays: bool
) -> None:
    """Prometheus says when a rule began to fire, which is its `for` after the errors began."""
    since = datetime.fromtimestamp(released(open_registry(project)) + 60 * minutes, UTC)
    starts = since.isoformat(timespec="microseconds").replace(
        "+00:00", "789Z"
    )  # nanoseconds, as Go writes it
    alert = WORSE["alerts"][0] | {"startsAt": starts, "annotations": notes}
    assert hook(project, {"alerts": [alert]}) == (202, {"done": "alert" if stays else "roll back"})
    assert live(project) == (["live", ""] if stays else ["", "live"])


def test_an_alert_acts_once_however_often_it_is_sent(project: Project, heard: Heard) -> None:
    registry = open_registry(project)
    alert = WORSE["alerts"][0] | {"startsAt": datetime.now(UTC).isoformat()}
    assert hook(project, {"alerts": [alert]}) == (202, {"done": "roll back"})
    registry.promote(releases(project)[0], PRODUCTION, "Ada", "it was something else")
    assert hook(project, {"alerts": [alert]}) == (200, {"ignored": "it was acted on already"})
    assert live(project) == ["live", ""]
    again = alert | {"startsAt": datetime.now(UTC).isoformat()}
    assert hook(project, {"alerts": [alert, again]}) == (202, {"done": "roll back"}), "it began anew"


def test_what_serves_by_now_is_not_what_was_judged(
    project: Project, heard: Heard, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The script is told which version is meant, and refuses with exit code 6."""
    rollback_script(project, 'echo "error: v3 serves here by now, not $FROM" >&2; exit 6', monkeypatch)
    bad = releases(project)[0]
    assert hook(project, WORSE)[0] == 202 and live(project) == ["live", ""]
    assert heard.done == [f"nothing: error: v3 serves here by now, not {bad}"]


def test_what_prometheus_only_reports_is_alerted_once(project: Project, heard: Heard) -> None:
    firing = {"status": "firing", "labels": {"alertname": "ModelDown", "action": "tell"}}
    payload = {"alerts": [firing | {"annotations": {"summary": "nothing answers"}}]}
    assert [hook(project, payload)[0] for _ in range(2)] == [202, 202]
    assert live(project) == ["live", ""]
    assert heard.take()[0] == ["shop: ModelDown (nothing answers)"]


@pytest.fixture
def rollback_on_drift(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LIFECYCLE_POLICY__ROLLBACK_ON_DRIFT", "true")
    monkeypatch.setenv("LIFECYCLE_POLICY__LEAST_CHECKS", "3")
    monkeypatch.setenv("LIFECYCLE_DRIFT__WINDOW_HOURS", "336")


def three_checks(project: Project) -> list[int]:
    codes = []
    for _ in range(3):
        try:
            codes.append(run_check(project)[1])
        except Busy:
            codes.append(Busy.exit_code)
    return codes


def test_drift_that_persists_rolls_back_to_a_better_version(
    project: Project, heard: Heard, rollback_on_drift: None
) -> None:
    serve(project, MOVED)
    assert three_checks(project) == [2, 75, 0]
    assert live(project) == ["", "live"], "the first release was the better one"
    assert [did for _, did, _ in found(project)] == ["retrain", "roll back"]
    assert any("rolled back to" in text for text in heard.done)


def test_drift_that_persists_stays_with_the_better_version(
    project: Project, heard: Heard, rollback_on_drift: None
) -> None:
    open_registry(project).promote(
        releases(project)[1], PRODUCTION, "Ada", "third release, and the one before it is worse"
    )
    serve(project, MOVED)
    assert three_checks(project) == [2, 75, 75]
    assert live(project) == ["", "live"] and found(project) == [("drift", "retrain", 3)]
    assert not any("rolled back" in text for text in heard.done)


def rollback_script(project: Project, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Give the project a deploy/docker/rollback.sh, and let Docker seem to be there."""
    folder = project.root / "deploy/docker"
    folder.mkdir(parents=True)
    (folder / "rollback.sh").write_text(f"#!/bin/sh\n{text}\n")
    (folder / "rollback.sh").chmod(0o755)
    (project.root / "bin").mkdir()
    (project.root / "bin/docker").symlink_to("/bin/true")
    monkeypatch.setenv("PATH", f"{project.root}/bin:/usr/bin:/bin")


def test_the_deployment_is_rolled_back_first_and_says_to_what(
    project: Project, heard: Heard, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = releases(project)[1]
    rollback_script(project, f'[ "$YES" = 1 ] && echo "$WHY" >why && echo {first}', monkeypatch)
    assert hook(project, WORSE)[0] == 202 and live(project) == ["", "live"]
    assert heard.done == [f"rolled back to {first}"]
    assert (project.root / "why").read_text() == "service: alert: Errors\n"


def test_what_cannot_be_rolled_back_is_reported(
    project: Project, heard: Heard, monkeypatch: pytest.MonkeyPatch
) -> None:
    """deploy/docker/rollback.sh finds something deployed, and fails: the registry stays as it is."""
    rollback_script(project, "echo 'error: v1 did not get healthy' >&2; exit 1", monkeypatch)
    assert hook(project, WORSE)[0] == 503 and live(project) == ["live", ""]
    assert any("not done: roll back" in text and "did not get healthy" in text for text in heard.done)


def test_nothing_in_production_is_nothing_to_check(project: Project, heard: Heard) -> None:
    shutil.rmtree(project.root / "registry")
    assert run_check(project) == ("", 0)
    with pytest.raises(LifecycleError, match="no version is in production"):
        checks.service_worse(project, "x")


def test_retrain_if_due(project: Project, heard: Heard, capsys: pytest.CaptureFixture[str]) -> None:
    """As a CronJob of Kubernetes runs it: too few rows, and a start a short while ago, are no failure."""
    pipeline = project.root / "src" / project.package / "pipeline.py"
    pipeline.write_text(
        "".join(f"def {name}(project): return '{name} was done'\n" for name in ("ingest", "validate"))
        + "".join(f"def {name}(project): return '{name}'\n" for name in ("train", "evaluate", "register"))
    )
    sys.modules.pop(f"{project.package}.pipeline", None)
    words = ("retrain", "--if-due", "--no-dvc", "--run", "kubernetes:shop-drift-1")
    serve(project, MOVED, 100)
    assert command(*words) == 0
    serve(project, QUIET, rejected=1000)
    assert command(*words) == BROKEN
    serve(project, MOVED)
    assert command(*words) == 0
    output = capsys.readouterr().out
    assert (
        "drift: moved: " in output
        and "✓ validate  validate was done" in output
        and heard.beats == ["/start", ""]
    )
    assert command(*words) == 0
    assert "skipped: drift: moved: " in capsys.readouterr().out and heard.beats == ["/start", ""]
    begin(project, "kubernetes:shop-drift-1", "drift: moved")
    assert command(*words) == 0, "the second pod of a job whose first was killed"
    assert "✓ register" in capsys.readouterr().out and heard.beats == ["/start", "", "/start", "/start", ""]
