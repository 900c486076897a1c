"""Retraining by cron, Prefect and Airflow: one at a time, a cooldown, webhooks, and what failures do.

Every cell of docs/orchestrators.md's table is one of the tests here, with the real parts.
"""

import json
import os
import subprocess
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml
from conftest import Project, render
from services.troubles import FAILS_TWICE, FINE, HANGS, Heard, Trouble, listening, until, with_environment

from lean_mlops.shell import free_port

pytestmark = pytest.mark.slow
STEPS = ["ingest", "validate", "train", "evaluate", "register"]
GONE = "file:///dev/null/registry"  # a shared disk that is not there
BARS = {"retries": 2, "retry_seconds": 0.1}


def bars(project: Project, **more: float) -> None:
    """Set some of params.yaml's `retrain`, so that nothing waits for long."""
    file = project.path / "params.yaml"
    params = yaml.safe_load(file.read_text())
    params["retrain"] |= BARS | more
    file.write_text(yaml.safe_dump(params))


@pytest.fixture(scope="session")
def retrained(template: Path, environment: Path, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A project that DVC has run once: do not change it."""
    path = render(template, tmp_path_factory.mktemp("retrained") / "churn", registry="s3")
    (path / "uv.lock").write_text((environment / "uv.lock").read_text())
    project = Project(path, environment)
    with_environment(project)
    bars(project)
    done = subprocess.run(
        ["dvc", "repro", "-q"], cwd=path, env=environ(project), capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return project


def environ(project: Project, **more: str) -> dict[str, str]:
    """What a scheduler's environment is: little, and nothing of the project's."""
    kept = {name: os.environ[name] for name in ("HOME", "SSL_CERT_FILE") if name in os.environ}
    return (
        kept
        | {"PATH": f"{project.path}/.venv/bin:/usr/bin:/bin", "PYTHONPATH": str(project.path / "src")}
        | project.env
        | more
    )


@pytest.fixture(scope="module")
def heard() -> Iterator[Heard]:
    with listening() as heard:
        yield heard


def copied(retrained: Project, to: Path, heard: Heard) -> Project:
    subprocess.run(["cp", "-a", retrained.path, to], check=True)
    heard.take()
    return Project(to, retrained.venv, dict(heard.env))


@pytest.fixture
def project(retrained: Project, tmp_path: Path, heard: Heard) -> Project:
    """A copy of the retrained project, to do anything with."""
    return copied(retrained, tmp_path / "churn", heard)


def cron(project: Project, *words: str, **env: str) -> subprocess.CompletedProcess[str]:
    """Run cron.sh as cron does."""
    command = [str(project.path / "orchestration/cron.sh"), *words]
    env = environ(project, **env) | {"PATH": "/usr/bin:/bin"}
    return subprocess.run(command, env=env, capture_output=True, text=True, check=False)


def log(project: Project) -> str:
    return (project.path / "artifacts/cron.log").read_text()


def begin(project: Project, run: str, ok: bool = True) -> subprocess.CompletedProcess[str]:
    return project.lifecycle("begin", "--run", run, ok=ok)


def test_one_of_many_begins_and_the_others_are_told(project: Project, heard: Heard) -> None:
    """Six processes, as on six hosts: the lock lies in the registry's store."""
    done: list[int] = []
    threads = [
        threading.Thread(target=lambda n=n: done.append(begin(project, f"host{n}", ok=False).returncode))
        for n in range(6)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(done) == [0, *[75] * 5]
    alerts, beats = heard.take()
    assert len(alerts) == 5 and beats == ["/start"]
    assert all("was not begun" in text for text in alerts)


@pytest.mark.parametrize("registry", ["mlflow", "s3"])
def test_the_lock_ends_with_the_run_or_after_its_time(
    registry: str, make_project: Callable[..., Project], heard: Heard
) -> None:
    project = make_project(registry=registry)
    project.env |= heard.env
    heard.take()
    begin(project, "a")
    assert "a has retrained for 0 min" in begin(project, "b", ok=False).stderr
    project.lifecycle("end", "--run", "a", "--code", "5")
    begin(project, "b")
    project.lifecycle("begin", "--run", "c", LIFECYCLE_RETRAIN__LOCK_HOURS="0.0000001")
    alerts, beats = heard.take()
    assert any("a failed (exit code 5)" in text for text in alerts) and "/fail" in beats
    assert any("b never ended (schedule): it died, and c takes over" in text for text in alerts)


def test_new_data_is_due_once_and_then_left_out(project: Project) -> None:
    assert project.lifecycle("due", ok=False, **environ(project)).returncode == 0
    Trouble(project).make(FINE)
    first = project.lifecycle("due", ok=False, **environ(project))
    assert first.returncode == 2 and first.stdout.startswith("new data: src/churn/data.py modified")
    second = project.lifecycle("due", ok=False, **environ(project))
    assert second.returncode == 75 and "the cooldown is 6 h" in second.stderr
    assert (
        project.lifecycle(
            "due", ok=False, LIFECYCLE_RETRAIN__COOLDOWN_HOURS="0", **environ(project)
        ).returncode
        == 2
    )


TOKEN = "a-token-of-enough-length"
FIRING = {"status": "firing", "labels": {"alertname": "ModelErrorHigh"}}
CREATED = {"eventName": "s3:ObjectCreated:Put", "s3": {"bucket": {"name": "b"}, "object": {"key": "new.csv"}}}


@pytest.fixture
def listener(project: Project) -> Iterator[int]:
    port = free_port()
    words = [f"{project.path}/.venv/bin/lifecycle", "listen", "--port", str(port)]
    with (
        (project.path / "listen.log").open("wb") as output,
        subprocess.Popen(
            words,
            cwd=project.path,
            env=environ(project, LIFECYCLE_LISTEN_TOKEN=TOKEN),
            stdout=output,
            stderr=output,
        ) as server,
    ):
        try:
            until(lambda: b"listening" in (project.path / "listen.log").read_bytes(), "lifecycle listen")
            until(lambda: ask(port, None), "an answer")
            yield port
        finally:
            server.terminate()


def ask(
    port: int, payload: object, token: str = TOKEN, data: bytes | None = None
) -> tuple[int, dict[str, str]]:
    body = json.dumps(payload).encode() if data is None else data
    headers = {"Authorization": f"Bearer {token}"}
    request = urllib.request.Request(f"http://127.0.0.1:{port}/", body, headers)
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.status, json.loads(answer.read())
    except urllib.error.HTTPError as error:
        return error.code, json.loads(error.read())
    except OSError:
        return 0, {}


@pytest.mark.cron
def test_a_storm_of_webhooks_starts_one_run(project: Project, listener: int) -> None:
    Trouble(project).make(FINE)
    assert ask(listener, {"reason": "x"}, token="wrong")[0] == 401
    assert ask(listener, {"reason": "x"}, token="")[0] == 401
    assert ask(listener, {"other": "x"})[0] == 400
    assert ask(listener, None, data=b"{")[0] == 400
    assert ask(listener, None, data=b"x" * 1_000_001)[0] in (413, 0)
    assert ask(listener, {"alerts": [FIRING | {"status": "resolved"}]})[1] == {
        "ignored": "nothing fires, nothing was created"
    }
    storm = [{"alerts": [FIRING]}, {"Records": [CREATED]}, *({"reason": f"r{n}"} for n in range(8))]
    answers: list[tuple[int, dict[str, str]]] = []
    threads = [threading.Thread(target=lambda p=p: answers.append(ask(listener, p))) for p in storm]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    started = [said["started"] for status, said in answers if status == 202]
    dropped = [said["dropped"] for status, said in answers if status == 200]
    assert len(started) == 1 and len(dropped) == len(storm) - 1
    assert all("the last start was 0 min ago" in text or "has retrained" in text for text in dropped)
    until(
        lambda: (project.path / "artifacts/cron.log").exists() and "retrain: exit code 0" in log(project),
        "the run",
    )
    assert log(project).count("== ") == 1


def test_listen_refuses_to_start_without_a_token(project: Project) -> None:
    done = project.lifecycle("listen", ok=False, LIFECYCLE_LISTEN_TOKEN="short")
    assert done.returncode == 7 and "LIFECYCLE_LISTEN_TOKEN is not set, or is short" in done.stderr


@pytest.mark.cron
def test_cron_a_step_fails_twice_and_then_works(project: Project, heard: Heard) -> None:
    Trouble(project).make(FAILS_TWICE)
    done = cron(project, "retrain")
    assert (done.returncode, done.stdout) == (0, "")
    alerts, beats = heard.take()
    assert alerts == ["churn: ingest failed with exit code 1"] * 2 and beats == ["/start", ""]
    assert "2 attempts are left" in log(project) and "1 attempts are left" in log(project)


@pytest.mark.cron
def test_cron_a_killed_worker_is_taken_over_by_the_next(project: Project, heard: Heard) -> None:
    trouble = Trouble(project)
    trouble.make(HANGS)
    words = [str(project.path / "orchestration/cron.sh"), "retrain"]
    with subprocess.Popen(words, env=environ(project), start_new_session=True):
        trouble.kill(below=b"pytest")
    assert cron(project, "retrain").returncode == 0
    alerts, beats = heard.take()
    assert len(alerts) == 1 and "never ended (schedule): it died" in alerts[0]
    assert beats == ["/start", "/start", ""], (
        "the first start never got its end: so the heartbeat's page alarms"
    )


@pytest.mark.cron
def test_cron_a_step_that_hangs_is_stopped_at_the_limit(project: Project, heard: Heard) -> None:
    bars(project, limit_minutes=0.2, retries=0)
    trouble = Trouble(project)
    trouble.make(HANGS)
    done = cron(project, "retrain")
    assert done.returncode == 124 and "retrain.limit_minutes is 0.2" in done.stdout
    until(lambda: not Path(f"/proc/{trouble.hanging()}").exists(), "nothing of it is left")
    alerts, beats = heard.take()
    assert ["was stopped" in alerts[0], "exit code 124" in alerts[1]] == [True, True] and beats == [
        "/start",
        "/fail",
    ]


@pytest.mark.cron
def test_cron_overlapping_runs(project: Project, heard: Heard) -> None:
    begin(project, "another-host")
    done = cron(project, "retrain")
    assert done.returncode == 75 and "another-host has retrained" in done.stdout
    alerts, beats = heard.take()
    assert len(alerts) == 1 and "was not begun: another-host" in alerts[0] and beats == ["/start"]


@pytest.mark.cron
def test_cron_the_registry_is_down(project: Project, heard: Heard) -> None:
    done = cron(project, "retrain", REGISTRY_URI=GONE)
    assert done.returncode == 6 and "REGISTRY_URI" in done.stdout
    alerts, _ = heard.take()
    assert len(alerts) == 1 and "was not begun: registry in" in alerts[0]


@pytest.mark.cron
def test_cron_goes_on_at_the_step_that_failed(project: Project) -> None:
    project.edit("src/churn/model.py", "def ", "raise SystemExit(8)\n\n\ndef ")
    assert cron(project, "retrain").returncode == 8, "8 is for people: one attempt"
    assert "attempts are left" not in log(project)
    project.edit("src/churn/model.py", "raise SystemExit(8)\n\n\n", "# mended\n")
    (project.path / "artifacts/cron.log").unlink()
    assert cron(project, "retrain").returncode == 0
    assert "'validate' didn't change" in log(project) and "Running stage 'train'" in log(project)


@pytest.mark.cron
def test_cron_starts_a_retraining_on_new_data_and_rotates_its_log(project: Project) -> None:
    (project.path / "artifacts/cron.log").write_text("x" * 1_000_001)
    Trouble(project).make(FINE)
    done = cron(project, "drift")
    assert (done.returncode, done.stdout) == (0, ""), done.stdout
    assert "drift: exit code 2" in log(project) and "retrain: exit code 0" in log(project)
    assert (project.path / "artifacts/cron.log.1").stat().st_size == 1_000_001
    assert cron(project, "drift").returncode == 0


def test_every_orchestrator_names_the_same_steps(template: Path, project: Project) -> None:
    stages = yaml.safe_load((project.path / "dvc.yaml").read_text())["stages"]
    assert list(stages) == STEPS
    assert [stage["cmd"] for stage in stages.values()] == [f"lifecycle {name}" for name in STEPS]
    done = subprocess.run(
        ["dvc", "repro", "--dry", "--force"],
        cwd=project.path,
        env=environ(project),
        capture_output=True,
        text=True,
    )
    ran = [line.split("'")[1] for line in done.stdout.splitlines() if line.startswith("Running stage")]
    assert ran == STEPS, "what cron runs"
