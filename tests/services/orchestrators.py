"""Prefect and Airflow as a rendered project starts them, and what their APIs say."""

import contextlib
import json
import subprocess
import urllib.parse
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


@dataclass
class Airflow:
    """Airflow as `make airflow` and `make schedule` start it: its API, and the runs of churn-retrain."""

    project: Project
    url: str

    def call(self, path: str, body: object = None) -> Any:
        token = call(f"{self.url}/auth/token")[
            "access_token"
        ]  # everybody is an admin here, and tokens expire
        return call(f"{self.url}/api/v2/dags/{path}".rstrip("/"), body, Authorization=f"Bearer {token}")

    def start(self, dag: str = "churn-retrain", **conf: str) -> str:
        """Trigger a run, as its page does, and return its id."""
        return self.call(f"{dag}/dagRuns", {"logical_date": None, "conf": conf})["dag_run_id"]

    def state(
        self, run: str, dag: str = "churn-retrain", over: tuple[str, ...] = ("success", "failed")
    ) -> str:
        """Wait for the end of a run and return its state."""

        def ended() -> str:
            state = self.call(f"{dag}/dagRuns/{urllib.parse.quote(run)}")["state"]
            return state if state in over else ""

        return until(ended, f"Airflow's run {run}")

    def tasks(self, run: str) -> dict[str, tuple[str, int]]:
        """Return {task: its state, the number of its last attempt}."""
        found = self.call(f"churn-retrain/dagRuns/{urllib.parse.quote(run)}/taskInstances")["task_instances"]
        return {item["task_id"]: (item["state"], item["try_number"]) for item in found}

    def again(self, run: str) -> str:
        """Clear what failed, as a person does on the run's page."""
        body = {"dry_run": False, "dag_run_id": run, "only_failed": True, "reset_dag_runs": True}
        self.call("churn-retrain/clearTaskInstances", body)
        return self.state(run)


@contextlib.contextmanager
def airflow(project: Project, env: dict[str, str], port: int) -> Iterator[Airflow]:
    """Start a whole Airflow with the project's own script, unpause its DAGs, and stop it."""
    script = str(project.path / "orchestration/airflow.sh")
    env = env | {"PORT": str(port), "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS": "True"}
    with (project.path / "airflow.log").open("wb") as log:
        words = [script, "standalone"]
        running = subprocess.Popen(words, env=env, stdout=log, stderr=log, start_new_session=True)
    server = Airflow(project, f"http://127.0.0.1:{port}")
    try:
        until(lambda: reached(f"{server.url}/api/v2/monitor/health"), "Airflow")
        until(lambda: len(server.call("")["dags"]) == 2, "the DAGs")
        for dag in ("churn-retrain", "churn-watch"):
            words = [script, "dags", "unpause", "--yes", dag]
            subprocess.run(words, env=env, check=True, capture_output=True)
        yield server
    finally:
        running.terminate()
        running.wait(60)
