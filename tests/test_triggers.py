"""What starts retraining in AWS, and where: the events and the cooldown against AWS's API by moto, the
triggers against the real APIs of Prefect and Airflow and the contracts that GitHub and GitLab document."""

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
from conftest import ROOT, Project, clean_environment, render
from services import aws
from services.recorder import Recorder, recorder
from tools import UV

pytestmark = pytest.mark.slow

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
    words = ["pip", "install", "--quiet", "--python", str(environment), "boto3"]
    subprocess.run([UV, *words], env=clean_environment(), check=True)
    cloud.run("client('s3').create_bucket(Bucket='models')")
    path = render(template, tmp_path_factory.mktemp("events") / "churn", deploy="lambda")
    return Project(path, environment, cloud.env)


@pytest.fixture
def api() -> Iterator[Recorder]:
    with recorder() as api:
        yield api


def start(cloud: aws.Aws, kind: str, target: str, ok: bool = True, **more: str) -> str:
    """Start retraining as the function in AWS does, with AWS's client and nothing else."""
    code = "import os\nfrom lifecycle import triggers\n"
    code += "triggers.start('drift: it moved', lambda: os.environ['TRIGGER_TOKEN'])"
    env = os.environ | cloud.env | {"PYTHONPATH": str(ROOT / "template/src"), "TRIGGER": kind}
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
        assert "Dag with dag_id: 'nothing' not found" in said and "TRIGGER_TARGET" not in said


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


def events(project: Project, event: Any, **settings: str) -> subprocess.CompletedProcess[str]:
    """Hand an event to the events handler in the project's environment; its answer is the last line."""
    program = "import json, sys\nfrom lifecycle.serving.aws_lambda_events import handler\n"
    program += "print(json.dumps(handler(json.loads(sys.argv[1]))))"
    settings = {"WINDOWS_BUCKET": "models", "TRIGGER": "github", "TRIGGER_TARGET": "me/churn"} | settings
    return project.python("-c", program, json.dumps(event), **settings)


def answer(done: subprocess.CompletedProcess[str]) -> Any:
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def s3(key: str) -> dict[str, Any]:
    return {"Records": [{"eventSource": "aws:s3", "s3": {"bucket": {"name": "b"}, "object": {"key": key}}}]}


def sqs(**verdicts: str) -> dict[str, Any]:
    records = [{"messageId": id, "eventSource": "aws:sqs", "body": body} for id, body in verdicts.items()]
    return {"Records": records}


def test_each_event_starts_retraining_once_in_a_cooldown(project: Project, api: Recorder) -> None:
    env = {"TRIGGER_URL": api.url, "TRIGGER_TOKEN": "t0ken"}
    put = {"source": "aws.s3", "detail": {"object": {"key": "data/new.parquet"}}}
    drifted = json.dumps({"verdict": "drift", "why": "moved: distance_km"})
    cases = [
        (s3("data/new.parquet"), "new data: data/new.parquet"),
        (put, "new data: data/new.parquet"),
        ({"task": "retrain"}, "schedule"),
        (sqs(a=drifted), "drift: moved: distance_km"),
    ]
    for number, (event, reason) in enumerate(cases):
        env["WINDOWS_PREFIX"] = f"events-{number}"
        answer(events(project, event, **env))
        answer(events(project, event, **env))
        assert len(api.asked) == number + 1, f"{reason} is not to start twice"
        assert json.loads(api.asked[-1][2])["client_payload"]["reason"] == reason
    started = [events(project, {"task": "retrain"}, **env, COOLDOWN_HOURS=hours) for hours in ("24", "0")]
    assert [answer(done)["started"] for done in started] == [0, 1]
    assert "the last start was 0.0 h ago" in answer(started[0])["why"]


def test_what_starts_nothing(project: Project, api: Recorder) -> None:
    env = {"TRIGGER_URL": api.url, "TRIGGER_TOKEN": "t0ken", "WINDOWS_PREFIX": "nothing"}
    broken = json.dumps({"verdict": "broken data", "why": "half the rows"})
    failed = answer(events(project, sqs(good=broken, bad="{", odd="[]"), **env))
    assert [item["itemIdentifier"] for item in failed["batchItemFailures"]] == ["bad", "odd"]
    unknown = events(project, {"surprise": 1}, **env)
    assert unknown.returncode and "an unknown event: ['surprise']" in unknown.stderr
    assert not api.asked

    api.status = 500
    done = events(project, {"task": "retrain"}, **env)
    assert "dispatches answers 500" in done.stderr and "t0ken" not in done.stderr
    api.status = 204
    assert answer(events(project, {"task": "retrain"}, **env))["started"] == 1, "the cooldown was given back"


def test_of_many_events_at_once_one_starts_retraining(project: Project, api: Recorder) -> None:
    env = {"TRIGGER_URL": api.url, "TRIGGER_TOKEN": "t0ken", "WINDOWS_PREFIX": "crowd"}
    with ThreadPoolExecutor(6) as pool:
        done = list(pool.map(lambda _: answer(events(project, {"task": "retrain"}, **env)), range(6)))
    assert sum(item["started"] for item in done) == len(api.asked) == 1


def test_the_webhook_wants_its_token(cloud: aws.Aws, project: Project, api: Recorder) -> None:
    env = {"TRIGGER_URL": api.url, "TRIGGER_TOKEN": "t", "WINDOWS_PREFIX": "webhook", "STACK": "hooked"}
    put = "client('ssm').put_parameter(Name='/hooked/WEBHOOK_TOKEN', Value='w3b', Type='SecureString')"
    cloud.run(put)  # a secret that is not in the environment comes from SSM
    fires = {"status": "firing", "labels": {"alertname": "Errors"}}
    over = fires | {"status": "resolved"}

    def post(body: Any, token: str = "w3b") -> tuple[int, Any]:
        headers = {"Authorization": f"Bearer {token}"}
        said = answer(events(project, {"requestContext": {}, "headers": headers, "body": body}, **env))
        return said["statusCode"], json.loads(said["body"])

    assert post(json.dumps({"alerts": [fires]}), "wrong")[0] == 401
    assert post("{")[0] == post(json.dumps({"alerts": [1]}))[0] == post("[]")[0] == 422
    assert post(json.dumps({"alerts": [over]})) == (202, {"started": False, "why": "nothing fires"})
    assert not api.asked
    assert post(json.dumps({"alerts": [over, fires]})) == (202, {"why": "alert: Errors", "started": 1})
    assert len(api.asked) == 1
