"""Prefect and Airflow as a rendered project starts them, and what their APIs say."""

import contextlib
import json
import os
import signal
import subprocess
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from conftest import Project
from services.troubles import until


def call(url: str, body: object = None, **headers: str) -> Any:
    """GET, or POST a body, and return the answer."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json", **headers})

    def answered() -> list[Any]:
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return [json.loads(answer.read() or b"null")]
        except urllib.error.HTTPError as error:
            if error.code != 503:  # Prefect's, while its database is busy
                raise
            return []

    return until(answered, f"an answer of {url}")[0]


def reached(url: str) -> Any:
    """Return the answer of an address; None while there is none."""
    with contextlib.suppress(OSError):
        return call(url)


@dataclass
class Prefect:
    """Prefect as `make schedule` starts it: its API, and the runs of the deployment `retrain`."""

    project: Project
    api: str
    env: dict[str, str]

    def run(self, *words: str, ok: bool = True, **env: str) -> subprocess.CompletedProcess[str]:
        """Run the project's script against this server."""
        command = [str(self.project.path / "orchestration/prefect.sh"), *words]
        env = self.env | {"PREFECT_API_URL": self.api} | env
        done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
        assert not ok or done.returncode == 0, done.stdout + done.stderr
        return done

    @contextlib.contextmanager
    def worker(self, kind: str) -> Iterator[None]:
        """Let a worker take runs from the pool."""
        pool = f"{self.api}/work_pools/retrain"
        env = self.env | {"PREFECT_API_URL": self.api, "POOL": kind, "PREFECT_WORKER_QUERY_SECONDS": "1"}
        words = [str(self.project.path / "orchestration/prefect.sh"), "worker"]
        with (self.project.path / "worker.log").open("wb") as log:
            running = subprocess.Popen(words, env=env, stdout=log, stderr=log)
        try:
            until(lambda: (reached(pool) or {}).get("status") == "READY", "the worker")
            yield
        finally:
            running.terminate()
            running.wait(60)

    def deployment(self, name: str) -> Any:
        return call(f"{self.api}/deployments/name/{name}/{name}")

    def start(self, name: str = "retrain", **parameters: str) -> str:
        """Create a run, as its page does, and return its id."""
        deployment = self.deployment(name)["id"]
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
    server = Prefect(project, f"http://127.0.0.1:{port}/api", env)
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
    env: dict[str, str]

    def run(self, *words: str, **env: str) -> str:
        """Run the project's script, and return what it prints."""
        command = [str(self.project.path / "orchestration/airflow.sh"), *words]
        done = subprocess.run(command, env=self.env | env, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def call(self, path: str, body: object = None) -> Any:
        token = call(f"{self.url}/auth/token")[
            "access_token"
        ]  # everybody is an admin here, and tokens expire
        return call(f"{self.url}/api/v2/dags/{path}".rstrip("/"), body, Authorization=f"Bearer {token}")

    def states(self, dag: str = "churn-retrain") -> list[str]:
        """Return the states of all runs."""
        return [run["state"] for run in self.call(f"{dag}/dagRuns")["dag_runs"]]

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
    server = Airflow(project, f"http://127.0.0.1:{port}", env)
    try:
        until(lambda: reached(f"{server.url}/api/v2/monitor/health"), "Airflow")
        until(lambda: len(server.call("")["dags"]) == 2, "the DAGs")
        for dag in (dags := ("churn-retrain", "churn-watch")):
            words = [script, "dags", "unpause", "--yes", dag]
            subprocess.run(words, env=env, check=True, capture_output=True)
        # The last time of each schedule is made up for at once: a late watch would start a run in a test.
        for dag in dags:
            until(lambda dag=dag: set(server.states(dag)) == {"success"}, f"the scheduled run of {dag}")
        yield server
    finally:
        os.killpg(running.pid, signal.SIGINT)  # Ctrl-C
        running.wait(60)
        home = str(project.path / "artifacts/airflow").encode()
        until(lambda: not any(home in _environ(pid) for pid in Path("/proc").glob("[0-9]*")), "nothing left")


def _environ(process: Path) -> bytes:
    """Return a process's environment; nothing of one that is gone."""
    try:
        return (process / "environ").read_bytes()
    except OSError:
        return b""
