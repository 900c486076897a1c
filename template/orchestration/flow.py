"""Prefect 3: retraining as a flow with a task a step, and a watch that starts it on drift or new data.

Prefect runs in an environment of its own, which cannot be the project's: each task calls the project's
commands. DVC knows whether a step has anything to do; when and how often stands in params.yaml, `retrain`.

    make schedule     serve both flows on this host, on their schedules
    make flow         retrain once, now
    prefect.yaml      the same on a work pool: processes, Docker, Kubernetes
"""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml
from prefect import flow, get_run_logger, runtime, serve, task
from prefect.artifacts import create_markdown_artifact, create_table_artifact
from prefect.cache_policies import INPUTS, RUN_ID
from prefect.client.schemas.objects import ConcurrencyLimitConfig, ConcurrencyLimitStrategy, State
from prefect.deployments import run_deployment
from prefect.states import Cancelled
from prefect.tasks import exponential_backoff

ROOT = Path(__file__).resolve().parents[1]
DEFAULTS = {"schedule": "23 4 * * 1", "check": "*/15 * * * *", "retries": 2, "retry_seconds": 60}
BARS = DEFAULTS | (yaml.safe_load((ROOT / "params.yaml").read_text()).get("retrain") or {})
STEPS = list(yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"])
FOR_PEOPLE = (4, 5, 7, 8)  # exit codes that another attempt does not change: see lifecycle/errors.py
DUE, INSUFFICIENT_DATA, BUSY = 2, 3, 75
LEFT_OUT = "LeftOut"  # a state's name: another run has the registry's lock
ONE_AT_A_TIME = ConcurrencyLimitConfig(limit=1, collision_strategy=ConcurrencyLimitStrategy.CANCEL_NEW)


class Failed(Exception):
    """A command of the project ended with a code that is not fine."""

    def __init__(self, command: str, code: int) -> None:
        super().__init__(command, code)
        self.code = code


def environment() -> dict[str, str]:
    """Return the environment that the project's commands are found in."""
    path = f"{ROOT / '.venv/bin'}{os.pathsep}{os.environ['PATH']}"
    return os.environ | {"PATH": path, "PYTHONUNBUFFERED": "1"}


def lifecycle(*words: str, fine: tuple[int, ...] = (0,)) -> tuple[int, str]:
    """Run a command in the project's environment; its lines go to the run's log as they come."""
    said = []
    pipe: dict[str, Any] = {"stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen(["lifecycle", *words], cwd=ROOT, env=environment(), **pipe) as running:
        try:
            for line in running.stdout or ():
                said.append(line.rstrip())
                get_run_logger().info(said[-1])
        except BaseException:
            running.terminate()
            raise
    if running.returncode not in fine:
        raise Failed(f"lifecycle {' '.join(words)}", running.returncode)
    return running.returncode, "\n".join(said)


async def worth_another_try(_task: Any, _run: Any, state: State) -> bool:
    error = await state.aresult(raise_on_failure=False)
    return getattr(error, "code", 1) not in FOR_PEOPLE


# A flow run that a person or a crash starts again goes on at the step that failed: those before are cached.
@task(
    task_run_name="{name}",
    retries=BARS["retries"],
    retry_delay_seconds=exponential_backoff(BARS["retry_seconds"]),
    retry_jitter_factor=0.25,
    retry_condition_fn=worth_another_try,
    cache_policy=INPUTS + RUN_ID,
    persist_result=True,
)
def step(name: str) -> str:
    return lifecycle("step", name)[1]


def give_back(flow: Any, flow_run: Any, state: State) -> None:
    """Give the registry's lock back, and alert: the run failed, crashed or was cancelled.

    Prefect calls it by these names when the run's process is dead.
    """
    if state.name != LEFT_OUT:
        words = ["lifecycle", "end", "--run", f"prefect:{flow_run.id}", "--code", "1"]
        subprocess.run(words, cwd=ROOT, env=environment(), check=False)


@flow(on_failure=[give_back], on_crashed=[give_back], on_cancellation=[give_back])
def retrain(reason: str = "schedule") -> State | None:
    """Run the steps of dvc.yaml in their order, under the registry's lock."""
    run = f"prefect:{runtime.flow_run.id}"
    code, _ = lifecycle("begin", "--run", run, "--reason", reason, fine=(0, BUSY))
    if code == BUSY:
        return Cancelled(name=LEFT_OUT, message="another run has the lock: see its alert")
    for name in STEPS:
        step(name)
    create_markdown_artifact(lifecycle("report")[1], key="metrics", description="What the gate measured")
    lifecycle("end", "--run", run, "--code", "0")
    return None


@flow
def watch() -> None:
    """Start retraining if new data came or what is served drifted, unless the cooldown says no."""
    code, reason = lifecycle("due", fine=(0, DUE, INSUFFICIENT_DATA, BUSY))
    _, verdict = lifecycle("drift", "--json", fine=(0, 1, DUE, INSUFFICIENT_DATA, 4))
    if verdict:  # nothing without a version in production
        create_table_artifact(json.loads(verdict)["features"], key="drift", description=reason)
    if code == DUE:
        run_deployment("retrain/retrain", parameters={"reason": reason}, timeout=0)


if __name__ == "__main__":
    if sys.argv[1:] == ["once"]:
        retrain("by hand")
    else:
        serve(
            retrain.to_deployment("retrain", cron=BARS["schedule"], concurrency_limit=ONE_AT_A_TIME),
            watch.to_deployment("watch", cron=BARS["check"], concurrency_limit=ONE_AT_A_TIME),
        )
