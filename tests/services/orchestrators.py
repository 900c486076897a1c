"""Prefect as a rendered project starts it, and what its API says."""

import contextlib
import json
import subprocess
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from conftest import Project
from services.troubles import until


def call(url: str, body: object = None, **headers: str) -> Any:
    """GET, or POST a body, and return the answer."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json", **headers})
    with urllib.request.urlopen(request, timeout=60) as answer:
        return json.loads(answer.read() or b"null")


def reached(url: str) -> Any:
    """Return the answer of an address; None while there is none."""
    with contextlib.suppress(OSError):
        return call(url)


@dataclass
class Prefect:
    """Prefect as `make schedule` starts it: its API, and the runs of the deployment `retrain`."""

    project: Project
    api: str

    def start(self, name: str = "retrain", **parameters: str) -> str:
        """Create a run, as its page does, and return its id."""
        deployment = call(f"{self.api}/deployments/name/{name}/{name}")["id"]
        body = {"parameters": parameters, "state": {"type": "SCHEDULED"}}
        return call(f"{self.api}/deployments/{deployment}/create_flow_run", body)["id"]

    def state(self, run: str) -> str:
        """Wait for the end of a run and return the name of its state."""

        def ended() -> str:
            state = call(f"{self.api}/flow_runs/{run}")["state"]
            over = state["type"] in ("COMPLETED", "FAILED", "CRASHED", "CANCELLED")
            return state["name"] if over else ""

        return until(ended, f"Prefect's run {run}")

    def again(self, run: str) -> str:
        """Press Retry on the run's page."""
        call(
            f"{self.api}/flow_runs/{run}/set_state", {"state": {"type": "SCHEDULED", "name": "AwaitingRetry"}}
        )
        return self.state(run)

    def tasks(self, run: str) -> dict[str, str]:
        """Return {step: the name of its state}."""
        body = {"flow_runs": {"id": {"any_": [run]}}, "sort": "EXPECTED_START_TIME_ASC"}
        found = call(f"{self.api}/task_runs/filter", body)
        return {item["name"]: item["state"]["name"] for item in found}


@contextlib.contextmanager
def prefect(project: Project, env: dict[str, str], port: int) -> Iterator[Prefect]:
    """Start Prefect's server and serve the flows, with the project's own script, and stop both."""
    script = str(project.path / "orchestration/prefect.sh")
    quick = {"PREFECT_RUNNER_POLL_FREQUENCY": "1", "PREFECT_HOME": str(project.path / "artifacts/prefect")}
    env = env | quick | {"PORT": str(port)}
    subprocess.run([script, "start"], env=env, check=True, stdout=subprocess.DEVNULL)
    server = Prefect(project, f"http://127.0.0.1:{port}/api")
    try:
        until(lambda: reached(f"{server.api}/deployments/name/watch/watch"), "the flows")
        yield server
    finally:
        subprocess.run([script, "stop"], env=env, check=True, stdout=subprocess.DEVNULL)
