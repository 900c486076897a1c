"""Retraining by cron, Prefect and Airflow: one at a time, a cooldown, webhooks, and what failures do.

Every cell of docs/orchestrators.md's table is one of the tests here, with the real parts.
"""

import ast
import contextlib
import itertools
import json
import os
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import copier
import pytest
import yaml
from conftest import ROOT, Project, git, render
from services.heard import Heard, listening
from services.orchestrators import Airflow, Prefect, airflow, call, prefect
from services.troubles import FAILS_TWICE, FINE, HANGS, Trouble, until, with_environment
from tools import BIN

from lean_mlops.shell import free_port

pytestmark = pytest.mark.slow
ORCHESTRATORS = ["prefect", "airflow"]
BREAK = ("    columns =", "    raise SystemExit(8)\n    columns =")  # the step train, and no other
FIX = ("    raise SystemExit(8)\n", "    # fixed\n")
STEPS = ["ingest", "validate", "train", "evaluate", "register"]
GONE = "file:///dev/null/registry"  # a shared disk that is not there
YEARLY = "0 0 1 1 *"  # so that nothing starts by itself in the midst of a test
LIMITS = {"retries": 2, "retry_seconds": 0.1, "schedule": YEARLY, "check": YEARLY}


def limits(project: Project, **more: float) -> None:
    """Set some of params.yaml's `retrain`, so that nothing waits for long."""
    file = project.path / "params.yaml"
    params = yaml.safe_load(file.read_text())
    params["retrain"] = params.get("retrain", {}) | LIMITS | more
    file.write_text(yaml.safe_dump(params))


@pytest.fixture(scope="session")
def retrained(template: Path, environment: Path, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A project that DVC has run once: do not change it."""
    path = render(template, tmp_path_factory.mktemp("retrained") / "churn", registry="s3")
    (path / "uv.lock").write_text((environment / "uv.lock").read_text())
    project = Project(path, environment)
    with_environment(project)
    limits(project)
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
        | {
            "PATH": f"{project.path}/.venv/bin:/usr/bin:/bin",
            "PYTHONPATH": project.environment()["PYTHONPATH"],
        }
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


def listens(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)):
        return True
    return False


@pytest.mark.cron
def test_a_webhook_starts_a_run_of_cron(project: Project) -> None:
    """And a storm of them one run: tests/lifecycle/test_automation_webhooks.py."""
    Trouble(project).make(FINE)
    port = free_port()
    words = [f"{project.path}/.venv/bin/lifecycle", "listen", "--port", str(port)]
    url, headers = f"http://127.0.0.1:{port}", {"Authorization": f"Bearer {TOKEN}"}
    with subprocess.Popen(
        words, cwd=project.path, env=environ(project, LIFECYCLE_LISTEN_TOKEN=TOKEN)
    ) as server:
        try:
            until(lambda: listens(port), "lifecycle listen")
            assert call(url, {"reason": "new prices"}, **headers) == {"started": "new prices"}
            until(
                lambda: (
                    (project.path / "artifacts/cron.log").exists() and "retrain: exit code 0" in log(project)
                ),
                "the run",
            )
        finally:
            server.terminate()
    assert log(project).count("== ") == 1


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
        trouble.kill()
    assert cron(project, "retrain").returncode == 0
    alerts, beats = heard.take()
    assert "never ended (schedule): it died" in alerts[0]
    # DVC may find what its killed process left: then the second attempt goes on.
    assert alerts[1:] in ([], ["churn: dvc failed with exit code 255"])
    assert beats == ["/start", "/start", ""], (
        "the first start never got its end: so the heartbeat's page alarms"
    )


@pytest.mark.cron
def test_cron_a_step_that_hangs_is_stopped_at_the_limit(project: Project, heard: Heard) -> None:
    limits(project, limit_minutes=0.5, retries=0)
    trouble = Trouble(project)
    trouble.make(HANGS)
    done = cron(project, "retrain")
    assert done.returncode == 124 and "retrain.limit_minutes is 0.5" in done.stdout
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
def test_cron_a_second_run_on_the_same_host(project: Project, heard: Heard) -> None:
    trouble = Trouble(project)
    trouble.make(HANGS)
    words = [str(project.path / "orchestration/cron.sh"), "retrain"]
    with subprocess.Popen(words, env=environ(project)) as first:
        trouble.hanging()
        second = cron(project, "retrain")
        assert second.returncode == 75 and "and is still going on" in second.stdout
        alerts, _ = heard.take()
        assert len(alerts) == 1 and "was not begun: cron@" in alerts[0]
        trouble.kill()
        first.wait()


@pytest.mark.cron
def test_cron_the_registry_is_down(project: Project, heard: Heard) -> None:
    done = cron(project, "retrain", REGISTRY_URI=GONE)
    assert done.returncode == 6
    alerts, _ = heard.take()
    assert len(alerts) == 1 and "was not begun: " in alerts[0]


@pytest.mark.cron
def test_cron_goes_on_at_the_step_that_failed(project: Project) -> None:
    project.edit("src/churn/model.py", *BREAK)
    assert cron(project, "retrain").returncode == 8, "8 is for people: one attempt"
    assert "attempts are left" not in log(project)
    project.edit("src/churn/model.py", *FIX)
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


@pytest.mark.parametrize("file", ["flow.py", "dag.py"])
def test_a_params_file_without_the_section_means_the_defaults(file: str, project: Project) -> None:
    text = (ROOT / "template/orchestration" / file).read_text()
    line = next(line for line in text.splitlines() if line.startswith("DEFAULTS = "))
    defaults = ast.literal_eval(line.removeprefix("DEFAULTS = "))
    code = f"from lifecycle.settings import Retrain; print([getattr(Retrain(), k) for k in {list(defaults)}])"
    assert ast.literal_eval(project.python("-c", code).stdout) == list(defaults.values())


def test_cron_runs_the_steps_of_dvc_in_their_order(project: Project) -> None:
    """And Prefect and Airflow run them by the same names in the same order: see their first tests."""
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
    code = "from lifecycle.automation.retraining import STEPS; print(*STEPS)"
    assert project.python("-c", code).stdout.split() == STEPS, "and the CronJobs"


def switched(project: Project, orchestrator: str) -> dict[str, str]:
    """Change the answer, and return the environment of the orchestrator: uv is found in it."""
    switch(project, orchestrator)
    path = os.pathsep.join([environ(project)["PATH"], str(BIN)])
    return environ(project, PATH=path)


@pytest.fixture(scope="module")
def on_prefect(
    retrained: Project, heard: Heard, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Prefect]:
    """The retrained project after the answer was changed to Prefect, its server and its flows."""
    project = copied(retrained, tmp_path_factory.mktemp("prefect") / "churn", heard)
    with prefect(project, switched(project, "prefect"), free_port()) as server:
        yield server


@contextlib.contextmanager
def without_registry(project: Project) -> Iterator[None]:
    """Let the registry's folder lead nowhere: a shared disk that is gone."""
    registry, away = project.path / "registry", project.path / "away"
    registry.rename(away)
    registry.symlink_to(registry)
    yield
    registry.unlink()
    away.rename(registry)


def given_back(project: Project) -> None:
    """Wait until nobody has the lock: Prefect and Airflow tell of a failure before they have cleaned up."""
    note = project.path / "registry/state/retraining"
    until(lambda: json.loads(note.read_text())["ended"], "the lock is given back")


def switch(project: Project, orchestrator: str) -> None:
    """Change the answer, as `copier update -r :current: -d orchestrator=…` does."""
    git(project.path, "add", "-A")
    git(project.path, "commit", "-qm", "Before")
    answers = {"orchestrator": orchestrator}
    copier.run_update(
        project.path, vcs_ref=copier.VcsRef.CURRENT, data=answers, defaults=True, overwrite=True, quiet=True
    )
    assert git(project.path, "ls-files", "--unmerged") == ""


def test_prefect_a_step_fails_twice_and_then_works(on_prefect: Prefect, heard: Heard) -> None:
    heard.take()
    Trouble(on_prefect.project).make(FAILS_TWICE)
    run = on_prefect.start()
    assert on_prefect.state(run) == "Completed"
    assert list(on_prefect.tasks(run)) == STEPS, "in the order of dvc.yaml"
    alerts, beats = heard.take()
    assert alerts == ["churn: ingest failed with exit code 1"] * 2 and beats == ["/start", ""]
    artifacts = call(f"{on_prefect.api}/artifacts/filter", {})
    assert any(item["key"] == "metrics" and "| error |" in item["data"] for item in artifacts)


def test_prefect_a_killed_worker_and_overlapping_runs(on_prefect: Prefect, heard: Heard) -> None:
    heard.take()
    trouble = Trouble(on_prefect.project)
    trouble.make(HANGS)
    run = on_prefect.start()
    trouble.hanging()
    assert on_prefect.state(on_prefect.start()) == "Skipped"
    assert any(f"was not begun: prefect:{run} has retrained" in text for text in heard.alerts)
    trouble.kill(below=b"orchestration/flow.py")
    assert on_prefect.state(run) == "Crashed"
    until(lambda: heard.beats == ["/start", "/fail"], "the alarm")
    assert f"churn: prefect:{run} failed (exit code 1): see docs/runbooks.md#retraining" in heard.take()[0]
    begin(on_prefect.project, "another-host")
    run = on_prefect.start()
    assert on_prefect.state(run) == "Skipped"
    assert any("was not begun: another-host" in text for text in heard.take()[0])
    on_prefect.project.lifecycle("end", "--run", "another-host", "--code", "0")


def test_prefect_a_step_that_hangs_is_stopped_at_the_limit(on_prefect: Prefect, heard: Heard) -> None:
    heard.take()
    limits(on_prefect.project, limit_minutes=0.2, retries=0)
    Trouble(on_prefect.project).make(HANGS)
    assert on_prefect.state(on_prefect.start()) == "Failed"
    given_back(on_prefect.project)
    alerts, beats = heard.take()
    assert "ingest was stopped: retrain.limit_minutes is 0.2" in alerts[0] and "failed" in alerts[1]
    assert beats == ["/start", "/fail"]
    limits(on_prefect.project, limit_minutes=60)


def test_prefect_the_registry_is_down(on_prefect: Prefect, heard: Heard) -> None:
    heard.take()
    Trouble(on_prefect.project).make(FINE)
    with without_registry(on_prefect.project):
        assert on_prefect.state(on_prefect.start()) == "Failed"
        until(lambda: len(heard.alerts) == 2, "the alerts")
    assert "was not begun: " in heard.take()[0][0]


def test_prefect_goes_on_at_the_step_that_failed(on_prefect: Prefect) -> None:
    project = on_prefect.project
    Trouble(project).make(FINE)
    project.edit("src/churn/model.py", *BREAK)
    run = on_prefect.start()
    assert on_prefect.state(run) == "Failed"
    assert on_prefect.tasks(run) == {"ingest": "Completed", "validate": "Completed", "train": "Failed"}
    given_back(project)
    project.edit("src/churn/model.py", *FIX)
    assert on_prefect.again(run) == "Completed"
    assert on_prefect.tasks(run)["ingest"] == "Cached"


def test_prefect_watch_starts_a_retraining_on_new_data(on_prefect: Prefect) -> None:
    limits(on_prefect.project, cooldown_hours=0)
    Trouble(on_prefect.project).make(FINE)
    assert on_prefect.state(on_prefect.start("watch")) == "Completed"
    runs = call(f"{on_prefect.api}/flow_runs/filter", {"flows": {"name": {"any_": ["retrain"]}}})
    (run,) = [run for run in runs if run["parameters"].get("reason", "").startswith("new data: ")]
    assert on_prefect.state(run["id"]) == "Completed"


@pytest.mark.long
def test_prefect_a_worker_runs_the_flows_on_a_work_pool(on_prefect: Prefect, heard: Heard) -> None:
    """The deployments are the pool's from now on: the next test goes on from there."""
    heard.take()
    with on_prefect.worker("process"):
        pools = {on_prefect.deployment(name)["work_pool_name"] for name in ("retrain", "watch")}
        assert pools == {"retrain"}
        assert on_prefect.state(on_prefect.start()) == "Completed"
    assert heard.take() == ([], ["/start", ""])


@pytest.mark.long
@pytest.mark.parametrize("kind", ["docker", "kubernetes"])
def test_prefect_takes_the_deployments_for_other_pools(kind: str, on_prefect: Prefect) -> None:
    """No worker of theirs runs here: the server has parsed them, and has a job's template for them."""
    on_prefect.run("prefect", "--no-prompt", "work-pool", "delete", "retrain", POOL=kind)
    on_prefect.run("prefect", "--no-prompt", "work-pool", "create", "retrain", "--type", kind, POOL=kind)
    file = ["--prefect-file", "orchestration/prefect.yaml"]
    on_prefect.run("prefect", "--no-prompt", "deploy", "--all", *file, POOL=kind)
    assert {on_prefect.deployment(name)["work_pool_name"] for name in ("retrain", "watch")} == {"retrain"}
    pool = call(f"{on_prefect.api}/work_pools/retrain")
    assert pool["type"] == kind and "image" in pool["base_job_template"]["variables"]["properties"]


def test_prefect_a_worker_needs_a_server(on_prefect: Prefect) -> None:
    done = on_prefect.run("worker", ok=False, PREFECT_API_URL="")
    assert done.returncode == 7 and "next: PREFECT_API_URL=" in done.stderr


@pytest.fixture(scope="module")
def on_airflow(
    retrained: Project, heard: Heard, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Airflow]:
    """The retrained project after the answer was changed to Airflow, and an Airflow of its own."""
    project = copied(retrained, tmp_path_factory.mktemp("airflow") / "churn", heard)
    with airflow(project, switched(project, "airflow"), free_port()) as server:
        yield server


def test_airflow_skips_all_when_nothing_changed(on_airflow: Airflow) -> None:
    run = on_airflow.start()
    assert on_airflow.state(run) == "success"
    tasks = on_airflow.tasks(run)
    assert set(tasks) == {"changed", "begin", *STEPS, "end"}
    assert {state for name, (state, _) in tasks.items() if name != "changed"} == {"skipped"}
    after = {
        task["task_id"]: task["downstream_task_ids"]
        for task in on_airflow.call("churn-retrain/tasks")["tasks"]
    }
    order = ["changed", "begin", *STEPS, "end"]
    assert after == {name: [later] for name, later in itertools.pairwise(order)} | {"end": []}


@pytest.mark.long
def test_airflow_a_step_fails_twice_and_then_works(on_airflow: Airflow, heard: Heard) -> None:
    heard.take()
    Trouble(on_airflow.project).make(FAILS_TWICE)
    run = on_airflow.start()
    assert on_airflow.state(run) == "success"
    assert on_airflow.tasks(run)["ingest"] == ("success", 3)
    alerts, beats = heard.take()
    assert alerts.count("churn: ingest failed with exit code 1") == 2 and beats == ["/start", ""]
    assert alerts[-1] == "churn: ingest is tried again: attempt 3"


def test_airflow_a_killed_worker_and_overlapping_runs(on_airflow: Airflow, heard: Heard) -> None:
    heard.take()
    trouble = Trouble(on_airflow.project)
    trouble.make(HANGS)
    run = on_airflow.start()
    trouble.hanging()
    second = on_airflow.start()
    assert on_airflow.state(second) == "success"
    assert {on_airflow.tasks(second)[name][0] for name in ("begin", *STEPS, "end")} == {"skipped"}
    assert any("was not begun: airflow:" in text for text in heard.take()[0])
    trouble.kill(below=b"LocalExecutor")
    assert on_airflow.state(run) == "success"
    assert on_airflow.tasks(run)["ingest"] == ("success", 2)
    assert heard.take() == (["churn: ingest is tried again: attempt 2"], [""])
    Trouble(on_airflow.project).make("x = 1")
    begin(on_airflow.project, "another-host")
    run = on_airflow.start()
    assert on_airflow.state(run) == "success"
    assert {on_airflow.tasks(run)[name][0] for name in ("begin", *STEPS, "end")} == {"skipped"}
    assert any("was not begun: another-host" in text for text in heard.take()[0])
    on_airflow.project.lifecycle("end", "--run", "another-host", "--code", "0")


@pytest.mark.long
def test_airflow_a_step_that_hangs_is_stopped_at_the_limit(on_airflow: Airflow, heard: Heard) -> None:
    heard.take()
    limits(on_airflow.project, limit_minutes=0.15)
    Trouble(on_airflow.project).make(HANGS)
    run = on_airflow.start()
    assert on_airflow.state(run) == "failed"
    assert on_airflow.tasks(run)["ingest"] == ("failed", 3)
    alerts, beats = heard.take()
    assert sum("ingest was stopped: retrain.limit_minutes is 0.15" in text for text in alerts) == 3
    assert "failed (exit code 1)" in alerts[-1] and beats == ["/start", "/fail"]
    limits(on_airflow.project, limit_minutes=60)


@pytest.mark.long
def test_airflow_the_registry_is_down(on_airflow: Airflow, heard: Heard) -> None:
    heard.take()
    Trouble(on_airflow.project).make("x = 2")
    with without_registry(on_airflow.project):
        run = on_airflow.start()
        assert on_airflow.state(run) == "failed"
    assert on_airflow.tasks(run)["begin"] == ("failed", 3)
    assert "was not begun: " in heard.take()[0][0]


def test_airflow_goes_on_at_the_step_that_failed(on_airflow: Airflow) -> None:
    project = on_airflow.project
    Trouble(project).make("x = 3")
    project.edit("src/churn/model.py", *BREAK)
    run = on_airflow.start()
    assert on_airflow.state(run) == "failed"
    assert on_airflow.tasks(run)["train"] == ("failed", 1), "8 is for people: one attempt"
    project.edit("src/churn/model.py", *FIX)
    assert on_airflow.again(run) == "success"
    tasks = on_airflow.tasks(run)
    assert (tasks["ingest"][1], tasks["validate"][1], tasks["train"]) == (1, 1, ("success", 2))


@pytest.mark.long
def test_airflow_watch_starts_a_retraining_on_new_data(on_airflow: Airflow) -> None:
    limits(on_airflow.project, cooldown_hours=0)
    Trouble(on_airflow.project).make("x = 4")
    assert on_airflow.state(on_airflow.start("churn-watch"), "churn-watch") == "success"
    runs = on_airflow.call("churn-retrain/dagRuns?order_by=-run_after&limit=1")["dag_runs"]
    assert runs[0]["conf"]["reason"].startswith("new data: src/churn/data.py")
    assert on_airflow.state(runs[0]["dag_run_id"]) == "success"
    assert on_airflow.tasks(runs[0]["dag_run_id"])["register"][0] == "success"


POD = """
apiVersion: v1
kind: Pod
metadata: {name: retrain}
spec:
  containers:
    - {name: base, image: "apache/airflow:3.3.2", volumeMounts: [{name: project, mountPath: /srv/churn}]}
  volumes:
    - {name: project, persistentVolumeClaim: {claimName: churn}}
"""


@pytest.mark.long
@pytest.mark.parametrize("executor", ["KubernetesExecutor", "CeleryExecutor"])
def test_airflow_parses_the_dags_for_other_executors(
    executor: str, on_airflow: Airflow, tmp_path: Path
) -> None:
    """With its provider installed, and a database of its own; for Kubernetes a pod for each task."""
    (tmp_path / "pod.yaml").write_text(POD)
    home = {"AIRFLOW_HOME": str(tmp_path), "AIRFLOW__CORE__EXECUTOR": executor}
    home["AIRFLOW__KUBERNETES_EXECUTOR__POD_TEMPLATE_FILE"] = str(tmp_path / "pod.yaml")
    on_airflow.run("db", "migrate", **home)
    said = on_airflow.run("dags", "list-import-errors", "--local", "-o", "json", **home)
    assert said.splitlines()[-1] == "[]", said
    if executor == "CeleryExecutor":
        assert "worker" in on_airflow.run("celery", "--help", **home)
        return
    on_airflow.run("dags", "reserialize", **home)
    words = ["kubernetes", "generate-dag-yaml", "churn-retrain", "-l", "2026-01-05", "-o", str(tmp_path)]
    on_airflow.run(*words, **home)
    pods = [yaml.safe_load(file.read_text()) for file in tmp_path.glob("airflow_yaml_output/*.yml")]
    tasks = {pod["metadata"]["annotations"]["task_id"] for pod in pods}
    assert tasks == {"changed", "begin", *STEPS, "end"}
    assert {pod["spec"]["containers"][0]["volumeMounts"][0]["mountPath"] for pod in pods} == {"/srv/churn"}
