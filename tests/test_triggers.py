"""Where retraining is started from AWS: against the real APIs of Prefect and Airflow, and the contracts that
GitHub and GitLab document; the cooldown and the secrets against AWS's API by moto."""

import contextlib
import json
import os
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT, Project, render
from services import aws
from services.recorder import Recorder, recorder

pytestmark = pytest.mark.slow

LIBRARY = ROOT / "template/vendor/lifecycle/src"
PREFECT = ["prefect>=3.4", "fastapi<0.151", "sqlalchemy<2.1"]  # newer ones of the two break its server
DAG = """
from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.sdk import DAG
with DAG("retrain", schedule=None):
    EmptyOperator(task_id="train")
"""


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[aws.Aws]:
    with aws.double(tmp_path_factory.mktemp("aws")) as cloud:
        yield cloud


@pytest.fixture(scope="module")
def project(
    template: Path, environment: Path, cloud: aws.Aws, tmp_path_factory: pytest.TempPathFactory
) -> Project:
    cloud.run("client('s3').create_bucket(Bucket='models')")
    # Not cron, whose script would be started instead; what runs in AWS has none.
    path = render(
        template, tmp_path_factory.mktemp("events") / "churn", deploy="lambda", orchestrator="prefect"
    )
    return Project(path, environment, cloud.env)


@pytest.fixture
def api() -> Iterator[Recorder]:
    with recorder() as api:
        yield api


def start(cloud: aws.Aws, kind: str, target: str, ok: bool = True, **more: str) -> str:
    """Start retraining as the function in AWS does, with AWS's client and nothing else."""
    code = "import os\nfrom pathlib import Path\nfrom lifecycle.automation import triggers\n"
    code += (
        "from lifecycle.project import Project\nproject = Project('churn', 'churn', 's3', 'lambda', Path())\n"
    )
    code += "triggers.start(project, 'drift: it moved', lambda: os.environ['TRIGGER_TOKEN'])"
    env = os.environ | cloud.env | {"PYTHONPATH": str(LIBRARY), "TRIGGER": kind}
    env |= {"TRIGGER_TARGET": target, **more}
    words = [str(cloud.runtime / "bin/python"), "-c", code]
    done = subprocess.run(words, env=env, capture_output=True, text=True)
    assert (done.returncode == 0) == ok, done.stderr
    return done.stderr


def ask(url: str, body: Any = None, **headers: str) -> Any:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json", **headers})
    for _ in range(30):
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                return json.loads(answer.read() or b"null")
        except urllib.error.HTTPError as error:
            if error.code != 503:
                raise
            time.sleep(1)  # Prefect's server says so while its database is busy
    raise AssertionError(f"{url} answers 503 for half a minute")


@contextlib.contextmanager
def server(words: list[str], folder: Path, ready: str, **env: str) -> Iterator[None]:
    """Run a server until the block ends, and wait until it answers."""
    log = folder / "server.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            words, cwd=folder, env=os.environ | env, stdout=output, stderr=output, start_new_session=True
        )
    try:
        deadline = time.monotonic() + 180
        while process.poll() is None and time.monotonic() < deadline:
            with contextlib.suppress(OSError):
                urllib.request.urlopen(ready, timeout=5).close()
                break
            time.sleep(0.2)
        else:
            raise RuntimeError(f"{words[0]} did not start:\n{log.read_text(errors='replace')[-2000:]}")
        yield
    finally:
        process.terminate()
        process.wait()


def test_prefect_gets_a_scheduled_run(cloud: aws.Aws, tmp_path: Path) -> None:
    program = aws.environment(tmp_path / "prefect", PREFECT) / "bin/prefect"
    port = aws.free_port()
    url = f"http://127.0.0.1:{port}/api"
    words = [str(program), "server", "start", "--host", "127.0.0.1", "--port", str(port)]
    quiet = {"DO_NOT_TRACK": "1", "PREFECT_SERVER_ANALYTICS_ENABLED": "false"}
    auth = {"PREFECT_SERVER_API_AUTH_STRING": "ada:pw", "PREFECT_HOME": str(tmp_path / "home")}
    basic = {"Authorization": "Basic YWRhOnB3"}
    with server(words, tmp_path, f"{url}/health", **quiet, **auth):
        flow = ask(f"{url}/flows/", {"name": "retrain"}, **basic)["id"]
        deployment = ask(f"{url}/deployments/", {"name": "weekly", "flow_id": flow}, **basic)["id"]
        start(cloud, "prefect", deployment, TRIGGER_URL=url, TRIGGER_TOKEN="ada:pw")
        (run,) = ask(f"{url}/flow_runs/filter", {}, **basic)
        assert (run["deployment_id"], run["state_type"], run["tags"]) == (
            deployment,
            "SCHEDULED",
            ["retrain"],
        )
        said = start(cloud, "prefect", deployment, ok=False, TRIGGER_URL=url, TRIGGER_TOKEN="ada:wr0ng")
        assert "answers 401" in said and "wr0ng" not in said


def test_airflow_gets_a_dag_run_with_the_reason(cloud: aws.Aws, tmp_path: Path) -> None:
    program = str(aws.environment(tmp_path / "airflow", ["apache-airflow>=3.1"]) / "bin/airflow")
    (tmp_path / "dags").mkdir()
    (tmp_path / "dags/retrain.py").write_text(DAG)
    (tmp_path / "passwords.json").write_text('{"ada": "pw"}')
    config = {
        "AIRFLOW_HOME": str(tmp_path / "home"),
        "AIRFLOW__CORE__DAGS_FOLDER": str(tmp_path / "dags"),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "false",
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS": "ada:admin",
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE": str(tmp_path / "passwords.json"),
    }
    for words in (["db", "migrate"], ["dags", "reserialize"]):
        subprocess.run([program, *words], env=os.environ | config, check=True, capture_output=True)
    port = aws.free_port()
    url = f"http://127.0.0.1:{port}"
    words = [program, "api-server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    with server(words, tmp_path, f"{url}/api/v2/version", **config):
        start(cloud, "airflow", "retrain", TRIGGER_URL=url, TRIGGER_TOKEN="ada:pw")
        token = ask(f"{url}/auth/token", {"username": "ada", "password": "pw"})["access_token"]
        listed = ask(f"{url}/api/v2/dags/retrain/dagRuns", Authorization=f"Bearer {token}")
        (run,) = listed["dag_runs"]
        assert (run["conf"], run["run_type"]) == ({"reason": "drift: it moved"}, "manual")
        said = start(cloud, "airflow", "nothing", ok=False, TRIGGER_URL=url, TRIGGER_TOKEN="ada:pw")
        assert (
            "Dag with dag_id: 'nothing' not found" in said and "TRIGGER_TARGET" not in said.splitlines()[-1]
        )


def test_step_functions_and_sagemaker_start_by_the_functions_own_role(cloud: aws.Aws) -> None:
    machine = json.dumps({"StartAt": "a", "States": {"a": {"Type": "Pass", "End": True}}})
    role = "arn:aws:iam::123456789012:role/r"
    make = f"client('stepfunctions').create_state_machine(name='m', definition={machine!r}, roleArn={role!r})"
    arn = cloud.run(f"print({make}['stateMachineArn'])").strip()
    start(cloud, "stepfunctions", arn)
    execution = f"client('stepfunctions').list_executions(stateMachineArn={arn!r})['executions'][0]"
    asked = f"client('stepfunctions').describe_execution(executionArn={execution}['executionArn'])['input']"
    assert json.loads(cloud.run(f"print({asked})")) == {"reason": "drift: it moved"}

    pipeline = json.dumps({"Version": "2020-12-01", "Steps": []})
    names = f"PipelineName='p', PipelineDisplayName='p', RoleArn={role!r}, ClientRequestToken='{'t' * 32}'"
    cloud.run(f"client('sagemaker').create_pipeline({names}, PipelineDefinition={pipeline!r})")
    start(cloud, "sagemaker", "p")
    runs = "client('sagemaker').list_pipeline_executions(PipelineName='p')['PipelineExecutionSummaries']"
    assert json.loads(cloud.run(f"print(len({runs}))")) == 1
    assert "could not find pipeline" in start(cloud, "sagemaker", "q", ok=False).lower()


def test_github_gets_a_repository_dispatch(cloud: aws.Aws, api: Recorder) -> None:
    """As https://docs.github.com/rest/repos/repos#create-a-repository-dispatch-event says: 204."""
    start(cloud, "github", "me/churn", TRIGGER_URL=api.url, TRIGGER_TOKEN="t0ken")
    (asked,) = api.asked
    assert asked.path == "/repos/me/churn/dispatches"
    assert asked.headers["authorization"] == "Bearer t0ken"
    assert asked.headers["accept"] == "application/vnd.github+json" and asked.headers["user-agent"]
    body = {"event_type": "retrain", "client_payload": {"reason": "drift: it moved"}}
    assert json.loads(asked.body) == body


def test_gitlab_gets_a_pipeline_with_the_reason(cloud: aws.Aws, api: Recorder) -> None:
    """As https://docs.gitlab.com/api/pipeline_triggers/#trigger-a-pipeline-with-a-token says."""
    start(cloud, "gitlab", "group/churn", TRIGGER_URL=api.url, TRIGGER_TOKEN="t0ken")
    (asked,) = api.asked
    assert asked.path == "/api/v4/projects/group%2Fchurn/trigger/pipeline"
    sent = dict(urllib.parse.parse_qsl(asked.body))
    assert sent == {"token": "t0ken", "ref": "main", "variables[REASON]": "drift: it moved"}


@pytest.mark.parametrize(
    ("kind", "target", "says"),
    [
        ("", "me/churn", "TRIGGER is not set"),
        ("github", "", "TRIGGER_TARGET is not set"),
        ("jenkins", "job", "TRIGGER is 'jenkins'"),
        ("prefect", "an-id", "TRIGGER_URL is not set"),
    ],
)
def test_what_is_not_set_is_told(cloud: aws.Aws, kind: str, target: str, says: str) -> None:
    assert says in start(cloud, kind, target, ok=False, TRIGGER_TOKEN="")


def events(project: Project, event: Any, **settings: str) -> Any:
    """Hand an event to the events handler in the project's environment, and return its answer."""
    program = "import json, sys\nfrom lifecycle.deploy.aws_lambda.events import handler\n"
    program += "print(json.dumps(handler(json.loads(sys.argv[1]))))"
    settings = {"WINDOWS_BUCKET": "models", "TRIGGER": "github", "TRIGGER_TARGET": "me/churn"} | settings
    done = project.python("-c", program, json.dumps(event), **settings)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_of_many_events_at_once_one_starts_retraining(project: Project, api: Recorder) -> None:
    """The cooldown is an object in the deployment's bucket."""
    env = {"TRIGGER_URL": api.url, "TRIGGER_TOKEN": "t0ken", "WINDOWS_PREFIX": "crowd"}
    with ThreadPoolExecutor(6) as pool:
        done = list(pool.map(lambda _: events(project, {"task": "retrain"}, **env), range(6)))
    assert sum(item["started"] for item in done) == len(api.asked) == 1
    hours = [
        events(project, {"task": "retrain"}, **env, LIFECYCLE_RETRAIN__COOLDOWN_HOURS=h) for h in ("1", "0")
    ]
    assert [item["started"] for item in hours] == [0, 1] and len(api.asked) == 2


def test_the_webhooks_token_comes_from_ssm(cloud: aws.Aws, project: Project, api: Recorder) -> None:
    env = {"TRIGGER_URL": api.url, "TRIGGER_TOKEN": "t", "WINDOWS_PREFIX": "webhook", "STACK": "hooked"}
    put = "client('ssm').put_parameter(Name='/hooked/WEBHOOK_TOKEN', Value='w3b', Type='SecureString')"
    cloud.run(put)
    body = json.dumps({"alerts": [{"status": "firing", "labels": {"alertname": "Errors"}}]})
    for token, status in (("wrong", 401), ("w3b", 202)):
        headers = {"Authorization": f"Bearer {token}"}
        said = events(project, {"requestContext": {}, "headers": headers, "body": body}, **env)
        assert said["statusCode"] == status
    assert len(api.asked) == 1
