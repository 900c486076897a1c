"""Airflow 3: retraining as a DAG with a task a step, and a watch that triggers it on drift or new data.

Airflow runs in an environment of its own, which cannot be the project's: each task calls the project's
commands. DVC knows whether a step has anything to do; when and how often stands in params.yaml, `retrain`.
Other DAGs follow the assets: schedule=[Asset("churn-model")], or "churn-data", if this folder is churn.

Kubernetes or Celery executor: every worker needs this folder with its .venv at the same path (a shared
volume), because the steps hand files over in artifacts/. Set AIRFLOW__CORE__EXECUTOR to KubernetesExecutor or
CeleryExecutor, whose provider airflow.sh brings; for Kubernetes, a pod that mounts the volume is what
AIRFLOW__KUBERNETES_EXECUTOR__POD_TEMPLATE_FILE names.
"""

import os
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import yaml
from airflow.providers.standard.operators.trigger_dagrun import TriggerDagRunOperator
from airflow.sdk import DAG, Asset, CronTriggerTimetable, Param, chain, get_current_context, task
from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException

ROOT = Path(__file__).resolve().parents[1]
DEFAULTS = {"schedule": "23 4 * * 1", "check": "*/15 * * * *", "retries": 2, "retry_seconds": 60}
BARS = DEFAULTS | (yaml.safe_load((ROOT / "params.yaml").read_text()).get("retrain") or {})
STEPS = list(yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"])
FOR_PEOPLE = (4, 5, 7, 8)  # exit codes that another attempt does not change: see lifecycle/errors.py
DUE, INSUFFICIENT_DATA, BUSY = 2, 3, 75
NAME = ROOT.name
OUTLETS = {"ingest": [Asset(f"{NAME}-data")], "register": [Asset(f"{NAME}-model")]}
ONE: dict[str, Any] = {"start_date": datetime(2026, 1, 1, tzinfo=UTC), "catchup": False, "max_active_runs": 1}
TRIES = {
    "retries": BARS["retries"],
    "retry_delay": timedelta(seconds=BARS["retry_seconds"]),
    "retry_exponential_backoff": True,
}


def run(*words: str, fine: tuple[int, ...] = (0,)) -> tuple[int, str]:
    """Run a command in the project's environment; its lines go to the task's log as they come."""
    said = []
    path = f"{ROOT / '.venv/bin'}{os.pathsep}{os.environ['PATH']}"
    env = os.environ | {"PATH": path, "PYTHONUNBUFFERED": "1"}
    pipe: dict[str, Any] = {"stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen(words, cwd=ROOT, env=env, **pipe) as running:
        try:
            for line in running.stdout or ():
                said.append(line.rstrip())
                print(said[-1], flush=True)
        except BaseException:
            running.terminate()
            raise
    if running.returncode in FOR_PEOPLE and running.returncode not in fine:
        raise AirflowFailException(f"{' '.join(words)}: exit code {running.returncode}")
    if running.returncode not in fine:
        raise RuntimeError(f"{' '.join(words)}: exit code {running.returncode}")
    return running.returncode, "\n".join(said)


def run_id() -> str:
    return f"airflow:{get_current_context()['dag_run'].run_id}"


@task.short_circuit
def changed() -> bool:
    """Whether DVC finds any step that is not up to date; else the rest is skipped."""
    return run("dvc", "status", "--json")[1] != "{}"


@task
def begin() -> None:
    reason = get_current_context()["params"]["reason"]
    code, _ = run("lifecycle", "begin", "--run", run_id(), "--reason", reason, fine=(0, BUSY))
    if code == BUSY:
        raise AirflowSkipException("another run has the lock: see its alert")


@task
def step(name: str) -> None:
    attempt = get_current_context()["ti"].try_number
    run("lifecycle", "step", name, "--attempt", str(attempt))


@task(trigger_rule="all_done")
def end() -> None:
    """Give the registry's lock back, and fail with the run if a task of it failed."""
    context = get_current_context()
    this = context["dag_run"].run_id
    states = context["ti"].get_task_states(dag_id=context["dag"].dag_id, run_ids=[this])[this]
    failed = [name for name, state in states.items() if state in ("failed", "upstream_failed")]
    if states["begin"] == "skipped":
        raise AirflowSkipException("nothing was begun")
    run("lifecycle", "end", "--run", run_id(), "--code", "1" if failed else "0")
    if failed:
        raise AirflowFailException(f"failed: {', '.join(failed)}")


with DAG(
    f"{NAME}-retrain",
    schedule=CronTriggerTimetable(BARS["schedule"], timezone="UTC"),
    **ONE,
    default_args=TRIES,
    params={"reason": Param("schedule", type="string")},
):
    steps = [step.override(task_id=name, outlets=OUTLETS.get(name, []))(name) for name in STEPS]
    chain(changed(), begin(), *steps, end())


@task.short_circuit
def due() -> str:
    """Return why to retrain; else the rest is skipped."""
    code, reason = run("lifecycle", "due", fine=(0, DUE, INSUFFICIENT_DATA, BUSY))
    return reason if code == DUE else ""


with DAG(f"{NAME}-watch", schedule=CronTriggerTimetable(BARS["check"], timezone="UTC"), **ONE):
    reason = due()
    start = TriggerDagRunOperator(task_id="start", trigger_dag_id=f"{NAME}-retrain", conf={"reason": reason})
    chain(reason, start)
