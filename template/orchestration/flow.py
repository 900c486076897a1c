"""Prefect 3: retraining as a flow with a task a step, and a watch that starts it on drift or new data.

Prefect runs in an environment of its own, which cannot be the project's: each task calls the project's
commands. DVC knows whether a step has anything to do; when and how often is in params.yaml, `retrain`.
"""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml
from prefect import flow, get_run_logger, runtime, serve, task
from prefect.artifacts import create_markdown_artifact
from prefect.cache_policies import INPUTS, RUN_ID
from prefect.client.schemas.objects import State
from prefect.deployments import run_deployment
from prefect.states import Cancelled
from prefect.tasks import exponential_backoff

ROOT = Path(__file__).resolve().parents[1]
LIFECYCLE = str(ROOT / ".venv/bin/lifecycle")
DEFAULTS = {"schedule": "23 4 * * 1", "check": "*/15 * * * *", "retries": 2, "retry_seconds": 60}
SETTINGS = DEFAULTS | (yaml.safe_load((ROOT / "params.yaml").read_text()).get("retrain") or {})
STEPS = list(yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"])
DUE, INSUFFICIENT_DATA, BUSY = 2, 3, 75  # exit codes, as lifecycle/errors.py lists them
FINAL = (4, 5, 7, 8)  # those that another attempt does not change


def lifecycle(*words: str, fine: tuple[int, ...] = (0,)) -> tuple[int, str]:
    """Run a command of the project; its lines go to the run's log as they come."""
    lines = []
    with subprocess.Popen([LIFECYCLE, *words], cwd=ROOT, stdout=subprocess.PIPE, text=True) as running:
        try:
            for line in running.stdout or ():
                lines.append(line.rstrip())
                get_run_logger().info(lines[-1])
        except BaseException:
            running.terminate()
            raise
    if running.returncode not in fine:
        raise subprocess.CalledProcessError(running.returncode, f"lifecycle {' '.join(words)}")
    return running.returncode, "\n".join(lines)


async def worth_another_attempt(_task: Any, _run: Any, state: State) -> bool:
    return getattr(await state.aresult(raise_on_failure=False), "returncode", 1) not in FINAL


# A flow run that a person or a crash starts again goes on at the step that failed: those before are cached.
@task(
    task_run_name="{name}",
    retries=SETTINGS["retries"],
    retry_delay_seconds=exponential_backoff(SETTINGS["retry_seconds"]),
    retry_jitter_factor=0.25,
    retry_condition_fn=worth_another_attempt,
    cache_policy=INPUTS + RUN_ID,
    persist_result=True,
)
def step(name: str) -> str:
    return lifecycle("step", name)[1]


def failed(flow: Any, flow_run: Any, state: State) -> None:
    """Alert and give the lock back, whatever ended the run; Prefect calls it by these argument names."""
    if state.name != "Skipped":
        words = [LIFECYCLE, "end", "--run", f"prefect:{flow_run.id}", "--code", "1"]
        subprocess.run(words, cwd=ROOT, check=False)


@flow(on_failure=[failed], on_crashed=[failed], on_cancellation=[failed])
def retrain(reason: str = "schedule") -> State | None:
    """Run the steps of dvc.yaml in their order, under the lock, which holds on all hosts."""
    run = ["--run", f"prefect:{runtime.flow_run.id}"]
    if lifecycle("begin", *run, "--reason", reason, "--pid", str(os.getpid()), fine=(0, BUSY))[0] == BUSY:
        return Cancelled(name="Skipped", message="another run has the lock: see its alert")
    for name in STEPS:
        step(name)
    create_markdown_artifact(lifecycle("report")[1], key="metrics", description="What the gate measured")
    lifecycle("end", *run, "--code", "0")
    return None


@flow
def watch() -> None:
    """Start retraining if new data came or what is served drifted, unless the cooldown says no."""
    code, reason = lifecycle("due", fine=(0, DUE, INSUFFICIENT_DATA, BUSY))
    if code == DUE:
        run_deployment("retrain/retrain", parameters={"reason": reason}, timeout=0)


if __name__ == "__main__":
    if sys.argv[1:] == ["once"]:
        retrain("by hand")
    else:  # one check at a time, so that those which hang do not pile up
        serve(
            retrain.to_deployment("retrain", cron=SETTINGS["schedule"]),
            watch.to_deployment("watch", cron=SETTINGS["check"], concurrency_limit=1),
        )
