"""Airflow 3: retraining as a DAG with a task a step, and a watch that triggers it on drift or new data.

Airflow runs in an environment of its own, which cannot be the project's: each task calls the project's
commands. DVC knows whether a step has anything to do; when and how often is in params.yaml, `retrain`.
Other DAGs follow the assets: schedule=[Asset("churn-model")], or "churn-data", if this folder is churn.
With the Kubernetes or Celery executor each worker needs this folder with its .venv, at the same path, on a
shared volume; for Kubernetes AIRFLOW__KUBERNETES_EXECUTOR__POD_TEMPLATE_FILE names a pod that mounts it.
"""

import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import yaml
from airflow.providers.standard.operators.trigger_dagrun import TriggerDagRunOperator
from airflow.sdk import DAG, Asset, CronTriggerTimetable, Param, chain, get_current_context, task
from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException

ROOT = Path(__file__).resolve().parents[1]
NAME = ROOT.name
DEFAULTS = {"schedule": "23 4 * * 1", "check": "*/15 * * * *", "retries": 2, "retry_seconds": 60}
SETTINGS = DEFAULTS | (yaml.safe_load((ROOT / "params.yaml").read_text()).get("retrain") or {})
STEPS = list(yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"])
DUE, INSUFFICIENT_DATA, BUSY = 2, 3, 75  # exit codes, as lifecycle/errors.py lists them
FINAL = (4, 5, 7, 8)  # those that another attempt does not change
OUTLETS = {"ingest": [Asset(f"{NAME}-data")], "register": [Asset(f"{NAME}-model")]}
BOTH: dict[str, Any] = {"start_date": datetime(2026, 1, 1, tzinfo=UTC), "catchup": False}
SECONDS = timedelta(seconds=SETTINGS["retry_seconds"])
ATTEMPTS = {"retries": SETTINGS["retries"], "retry_delay": SECONDS, "retry_exponential_backoff": True}


def run(command: str, *words: str, fine: tuple[int, ...] = (0,)) -> tuple[int, str]:
    """Run a command in the project's environment; its lines go to the task's log as they come."""
    lines, program = [], str(ROOT / ".venv/bin" / command)
    with subprocess.Popen([program, *words], cwd=ROOT, stdout=subprocess.PIPE, text=True) as running:
        try:
            for line in running.stdout or ():
                lines.append(line.rstrip())
                print(lines[-1], flush=True)
        except BaseException:
            running.terminate()
            raise
    if (code := running.returncode) not in fine:
        error = AirflowFailException if code in FINAL else RuntimeError
        raise error(f"{command} {' '.join(words)}: exit code {code}")
    return code, "\n".join(lines)


@task.short_circuit
def changed() -> bool:
    """Whether a step is not up to date, or DVC cannot say, as during a run; else the rest is skipped."""
    return run("dvc", "status", "--json", fine=(0, 1, 255))[1] != "{}"


@task
def begin() -> None:
    context = get_current_context()
    words = ["begin", "--run", f"airflow:{context['run_id']}", "--reason", context["params"]["reason"]]
    if run("lifecycle", *words, fine=(0, BUSY))[0] == BUSY:
        raise AirflowSkipException("another run has the lock: see its alert")


@task
def step(name: str) -> None:
    run("lifecycle", "step", name, "--attempt", str(get_current_context()["ti"].try_number))


@task(trigger_rule="all_done")
def end() -> None:
    """Give the lock back, and fail with the run if a task of it failed."""
    ti = get_current_context()["ti"]
    states = ti.get_task_states(dag_id=ti.dag_id, run_ids=[ti.run_id])[ti.run_id]
    if states["begin"] == "skipped":
        raise AirflowSkipException("nothing was begun")
    failed = [name for name, state in states.items() if state in ("failed", "upstream_failed")]
    run("lifecycle", "end", "--run", f"airflow:{ti.run_id}", "--code", "1" if failed else "0")
    if failed:
        raise AirflowFailException(f"failed: {', '.join(failed)}")


weekly = CronTriggerTimetable(SETTINGS["schedule"], timezone="UTC")
given = {"reason": Param("schedule", type="string")}
with DAG(f"{NAME}-retrain", schedule=weekly, default_args=ATTEMPTS, params=given, **BOTH):
    steps = [step.override(task_id=name, outlets=OUTLETS.get(name, []))(name) for name in STEPS]
    chain(changed(), begin(), *steps, end())


@task.short_circuit
def due() -> str:
    """Return why to retrain; else the rest is skipped."""
    code, reason = run("lifecycle", "due", fine=(0, DUE, INSUFFICIENT_DATA, BUSY))
    return reason if code == DUE else ""


# Checks that hang must not pile up. Retrainings exclude each other by the lock, on all hosts.
every = CronTriggerTimetable(SETTINGS["check"], timezone="UTC")
with DAG(f"{NAME}-watch", schedule=every, max_active_runs=1, **BOTH):
    reason = due()
    TriggerDagRunOperator(task_id="start", trigger_dag_id=f"{NAME}-retrain", conf={"reason": reason})
