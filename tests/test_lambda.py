"""The target lambda against AWS's API, with the packages really run by Lambda's runtime client and emulator.

One project for each registry, with two versions; a test says first which of them it wants to be live.
"""

import contextlib
import functools
import json
import os
import re
import shutil
import signal
import subprocess
import time
import urllib.request
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from conftest import ROOT, Project, clean_environment, render
from services import aws
from services.github_events import GitHub, results, said
from services.gitlab import Pipeline
from services.pipelines import QUICK, Workshop, change
from services.recorder import Recorder, recorder
from tools import UV

pytestmark = pytest.mark.slow

TEMPLATE = ROOT / "template/deploy/lambda/template.yaml"
PREDICT = {"rawPath": "/predict", "requestContext": {"http": {"method": "POST"}}}
JSON = {"headers": {"content-type": "application/json"}}
HANDLER = "lifecycle.deploy.aws_lambda.handler.handler"
FUNCTION = """
import boto3, subprocess, sys
from lifecycle.deploy.aws_lambda import function as module
from lifecycle.project import Project
function = module.Function(Project.find())
"""


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[aws.Aws]:
    with aws.double(tmp_path_factory.mktemp("aws")) as cloud:
        cloud.run("client('s3').create_bucket(Bucket='models')")
        yield cloud


@dataclass
class Site(Project):
    """A project with the versions `old` and `new` (in production), and a stack of its own."""

    cloud: aws.Aws | None = None
    stack: str = ""
    old: str = ""
    new: str = ""

    def run(self, *words: str, code: int | None = 0, **more: str) -> subprocess.CompletedProcess[str]:
        env = self.environment(**more)
        done = subprocess.run(words, cwd=self.path, env=env, capture_output=True, text=True)
        assert code is None or done.returncode == code, (
            f"{words} → {done.returncode}\n{done.stdout}\n{done.stderr}"
        )
        return done

    def make(self, *words: str, **more: str) -> str:
        return self.run("make", *words, **more).stdout

    def script(self, name: str, *words: str, code: int | None = 0, **more: str) -> Any:
        return self.run(f"deploy/lambda/{name}.sh", *words, code=code, **more)

    def release(self, version: str, code: int | None = 0, **more: str) -> str:
        """Release a version and return what was said."""
        return self.script("release", version, f"build/{version}", code=code, **more).stderr

    @contextlib.contextmanager
    def releasing(self, version: str, **more: str) -> Iterator[subprocess.Popen[str]]:
        """A release that goes on while the block runs."""
        words = ["deploy/lambda/release.sh", version, f"build/{version}"]
        with subprocess.Popen(
            words,
            cwd=self.path,
            env=self.environment(**more),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        ) as running:
            yield running

    def rest(self, path: str, body: Any = None) -> Any:
        """Ask Lambda's API about a function, without the second that AWS's client takes to load."""
        scope = "AWS4-HMAC-SHA256 Credential=test/20260101/us-east-1/lambda/aws4_request"
        data = None if body is None else json.dumps(body).encode()
        url = f"{self.env['AWS_ENDPOINT_URL']}/2015-03-31/functions/{self.stack}{path}"
        headers = {"Authorization": scope, "Content-Type": "application/json"}
        with urllib.request.urlopen(urllib.request.Request(url, data, headers)) as said:
            return json.loads(said.read())

    def alias(self) -> dict[str, Any]:
        """Return where the alias live points, as AWS tells it."""
        return self.rest("/aliases/live")

    def weights(self) -> dict[str, float]:
        return (self.alias().get("RoutingConfig") or {}).get("AdditionalVersionWeights", {})

    def ask(self, event: dict[str, Any], function: str = "") -> Any:
        return self.rest(f"{function}/invocations" + ("" if function else "?Qualifier=live"), event)

    def predict(self, rows: list[dict[str, Any]]) -> dict[str, Any]:
        answer = self.ask(PREDICT | JSON | {"body": json.dumps(rows)})
        return json.loads(answer["body"])

    def live(self) -> str:
        """Return the version that answers, behind the alias."""
        row = json.loads((self.path / "artifacts/candidate/manifest.json").read_text())["fixture"]["row"]
        return self.predict([row])["version"]


@pytest.fixture(scope="module")
def sites(
    template: Path, trained: Path, environment: Path, cloud: aws.Aws, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], Site]:
    """A project of whose two versions the old one is live in AWS and the new one in production."""

    @functools.cache
    def make(registry: str) -> Site:
        folder = tmp_path_factory.mktemp("lambda")
        project = render(template, folder / "churn", registry=registry, deploy="lambda")
        subprocess.run([UV, "lock", "--quiet"], cwd=project, env=clean_environment(), check=True)
        shutil.copytree(trained / "artifacts", project / "artifacts")
        for libraries in folder.parent.glob(
            "lambda*/churn/build/libraries-*"
        ):  # of the other registry's project
            shutil.copytree(libraries, project / "build" / libraries.name)
        path = os.pathsep.join([str(environment / "bin"), clean_environment()["PATH"]])
        env = {"PATH": path, "UV_PROJECT_ENVIRONMENT": str(environment), "STACK": f"churn-{registry}"}
        env |= cloud.env | {"LIFECYCLE_BY": "Ada"}
        site = Site(project, environment, env, cloud, env["STACK"])
        _first_release(site)
        return site

    return make


def _first_release(site: Site) -> None:
    assert site.script("status", code=3).stderr.startswith("error: there is no function")
    assert site.script("rollback", code=3).stdout == ""
    site.lifecycle("register")
    site.lifecycle("promote")
    site.old = site.lifecycle("fetch", "--to", "build/model").stdout.strip()
    refused = site.run("make", "stack", code=2).stderr
    assert "BUCKET is not set" in refused and "make stack BUCKET=" in refused
    site.make("stack", "BUCKET=models", PARAMETERS="TriggerTarget=me/churn")
    site.edit("params.yaml", "max_iter: 300", "max_iter: 150")
    site.edit("params.yaml", "margin_over_live: 0.0", "margin_over_live: -1.0")
    for step in ("train", "evaluate", "register"):
        site.lifecycle(step)
    site.lifecycle("promote", "--why", "fewer trees")
    site.new = site.lifecycle("fetch", "--to", "build/model").stdout.strip()
    for version in (site.old, site.new):
        site.lifecycle("fetch", version, "--to", f"build/{version}")


@pytest.fixture(scope="module", params=[pytest.param("mlflow", marks=pytest.mark.long), "s3"])
def site(request: pytest.FixtureRequest, sites: Callable[[str], Site]) -> Site:
    return sites(request.param)


@pytest.fixture(scope="module")
def one(sites: Callable[[str], Site]) -> Site:
    """For what does not touch the registry."""
    return sites("s3")


def test_release_status_and_rollback_end_to_end(site: Site) -> None:
    """make deploy, make status, make rollback: the package answers, and the registry's alias follows."""
    assert site.live() == site.old
    differs = site.run("make", "status", code=2)
    assert f"{site.new} should be live, not {site.old}" in differs.stderr
    site.make("deploy")
    assert site.live() == site.new
    shown = site.make("status")
    assert f"live: {site.new} (ok)" in shown and f"a rollback goes to: {site.old}" in shown
    before = site.alias()
    assert "nothing to do" in site.run("make", "deploy").stderr
    assert site.alias() == before, "a second release of the same version changes nothing"

    refused = site.script("rollback", code=6, FROM=site.old).stderr
    assert f"{site.new} serves here by now, not {site.old}" in refused and site.live() == site.new
    site.make("rollback", "WHY=complaints")
    assert site.live() == site.old
    site.make("status")
    history = json.loads(site.lifecycle("history", "--json").stdout)
    assert (history[-1]["action"], history[-1]["version"]) == ("rollback", site.old)
    again = site.run("make", "rollback", code=2).stderr
    assert "there is no version before" in again and site.live() == site.old
    site.make("promote", f"VERSION={site.new}")
    numbers = site.rest("/versions")["Versions"]
    site.make("deploy")
    assert site.live() == site.new and len(numbers) == 3, "what was published before is only moved to"


def test_an_update_of_the_stack_leaves_the_model_alone(one: Site) -> None:
    one.release(one.new)
    before = one.alias()
    one.make("stack", PARAMETERS="MemoryMB=512")
    assert one.alias() == before
    asked = f"client('cloudformation').describe_stacks(StackName={one.stack!r})['Stacks'][0]['Parameters']"
    facts = json.loads(one.cloud.run(f"print(json.dumps({asked}))"))
    kept = {item["ParameterKey"]: item["ParameterValue"] for item in facts}
    assert (kept["MemoryMB"], kept["TriggerTarget"], kept["Bucket"]) == ("512", "me/churn", "models")


def test_a_damaged_or_unfit_model_never_takes_traffic(one: Site, tmp_path: Path) -> None:
    one.release(one.old)
    before = one.alias()
    damaged = one.path / "build/damaged"
    shutil.copytree(one.path / "build" / one.new, damaged, dirs_exist_ok=True)
    (damaged / "model.onnx").write_bytes(b"not the model")
    done = one.script("release", one.new, "build/damaged", code=6, AGAIN="1")
    assert "is not the file that was published" in done.stderr

    unfit = one.path / "build/unfit"
    shutil.copytree(one.path / "build" / one.new, unfit, dirs_exist_ok=True)
    manifest = json.loads((unfit / "manifest.json").read_text())
    manifest["fixture"]["prediction"]["prediction"] += 1
    (unfit / "manifest.json").write_text(json.dumps(manifest))
    done = one.script("release", one.new, "build/unfit", code=1, AGAIN="1")
    assert "is not fit to serve" in done.stderr and "does not predict its fixture row" in done.stderr
    assert one.alias() == before and one.live() == one.old
    assert (
        "does not hold version"
        in one.script("release", one.new, f"build/{one.old}", code=1, AGAIN="1").stderr
    )


def test_of_two_releases_one_wins(one: Site) -> None:
    """Another comes between one's look at the alias and its move, and between upload and publishing."""
    one.release(one.old)
    program = (
        "seen = function.live()\nsubprocess.run(sys.argv[1:], check=True)\n"
        "with module.clear_errors():\n    function.move(seen, seen.number, seen.undo)"
    )
    lost = one.python("-c", FUNCTION + program, "deploy/lambda/release.sh", one.new, f"build/{one.new}")
    assert "Conflict: somebody else releases or rolls back" in lost.stderr, lost.stderr
    assert one.live() == one.new
    other = (
        "from pathlib import Path\nclient = boto3.client('lambda')\n"
        "update = function._client.update_function_code\n"
        "def overtaken(**words):\n    done = update(**words)\n"
        "    client.update_function_code(FunctionName=function.name, ZipFile=b'PK\\5\\6' + bytes(18))\n"
        "    return done\nfunction._client.update_function_code = overtaken\n"
        "with module.clear_errors():\n"
        "    function.publish(next(Path('build').glob('lambda-2*.zip')), 'mine')"
    )
    lost = one.python("-c", FUNCTION + other)
    assert "Conflict: somebody else releases or rolls back" in lost.stderr, lost.stderr
    one.release(one.new, AGAIN="1")
    assert one.live() == one.new


def test_a_canary_ends_at_an_alarm_and_a_killed_one_at_a_rollback(one: Site) -> None:
    one.release(one.old)
    alarm = f"client('cloudwatch').put_metric_alarm(AlarmName={one.stack + '-live-errors'!r}, Threshold=0, "
    alarm += "EvaluationPeriods=1, ComparisonOperator='GreaterThanThreshold', MetricName='Errors', "
    one.cloud.run(alarm + "Namespace='AWS/Lambda', Period=60, Statistic='Sum')")
    state = f"client('cloudwatch').set_alarm_state(AlarmName={one.stack + '-live-errors'!r}, StateReason='', "
    with one.releasing(one.new, CANARY="10", CANARY_SECONDS="600") as canary:
        number = until(one.weights)
        assert list(number.values()) == [0.1] and one.live() == one.old
        one.cloud.run(state + "StateValue='ALARM')")
        said = canary.communicate(timeout=60)[1]
    assert canary.returncode == 1 and "-live-errors went off" in said and f"live stays {one.old}" in said
    assert not one.weights() and one.live() == one.old
    one.cloud.run(state + "StateValue='OK')")

    with one.releasing(one.new, CANARY="10", CANARY_SECONDS="600") as canary:
        until(one.weights)
        os.killpg(canary.pid, signal.SIGKILL)
    assert "canary is under way" in one.script("status", one.old).stdout
    assert one.script("rollback").stdout == f"{one.old}\n"
    assert not one.weights() and one.live() == one.old
    one.release(one.new, CANARY="50", CANARY_SECONDS="1")
    assert not one.weights() and one.live() == one.new


def until(look: Callable[[], Any]) -> Any:
    """Wait for something that is not nothing."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        if found := look():
            return found
        time.sleep(0.2)
    raise AssertionError("it did not happen")


def test_versions_in_use_are_never_deleted(one: Site) -> None:
    one.release(one.old)
    one.release(one.new)
    live = one.alias()
    program = (
        "before = {n for n, _ in function.numbers()}\nfunction.delete(before)\n"
        "print(*sorted({n for n, _ in function.numbers()}))"
    )
    left = set(one.python("-c", FUNCTION + program).stdout.split())
    assert left == {live["FunctionVersion"], live["Description"].partition("before: ")[2].split()[0]}
    assert one.script("rollback").stdout == f"{one.old}\n" and one.live() == one.old


def test_a_package_over_the_limit_is_refused(one: Site) -> None:
    program = (
        "from lifecycle.deploy.aws_lambda import package\nfrom lifecycle.project import Project\n"
        "package.LIMIT = 100 * 2**20\npackage.build(Project.find(), 'lambda')"
    )
    done = one.python("-c", program)
    assert "MiB, and Lambda takes 100" in done.stderr and not (one.path / "build/lambda.zip").exists()
    said = one.lifecycle("lambda", "package", one.old, f"build/{one.old}").stderr
    zipped, unzipped = (float(number) for number in re.findall(r"([\d.]+) MiB", said))
    assert zipped < 55 and unzipped < 160, said


def test_the_same_content_gives_the_same_package_in_another_folder(one: Site, tmp_path: Path) -> None:
    one.lifecycle("lambda", "package", one.old, f"build/{one.old}")
    kept = shutil.ignore_patterns("artifacts", "lambda-*", "libraries-*")
    shutil.copytree(one.path, tmp_path / "elsewhere", ignore=kept)
    other = Site(tmp_path / "elsewhere", one.venv, one.env)
    other.lifecycle("lambda", "package", one.old, f"build/{one.old}", PYTHONHASHSEED="7")
    first, second = (site.path / f"build/lambda-{one.old}.zip" for site in (one, other))
    assert first.read_bytes() == second.read_bytes()
    with zipfile.ZipFile(first) as package:
        names = set(package.namelist())
    ours = {"pyproject.toml", "params.yaml", "churn/features.py", "model/model.onnx"}
    assert ours | {"lifecycle/deploy/aws_lambda/handler.py"} <= names
    left = [f"churn/{name}.py" for name in ("data", "schema", "model", "pipeline")]
    assert not names & {*left, "lifecycle/training/gate.py", "lifecycle/cli.pyc"}


def test_the_template_is_valid_and_each_linter_can_find_a_fault(cloud: aws.Aws, tmp_path: Path) -> None:
    def lint(path: Path) -> list[subprocess.CompletedProcess[str]]:
        sam = ["sam", "validate", "--lint", "--template", str(path)]
        env = os.environ | aws.QUIET | aws.variables()
        return [
            subprocess.run(
                [cloud.tools / "bin" / words[0], *words[1:]], env=env, capture_output=True, text=True
            )
            for words in (sam, ["cfn-lint", "--template", str(path)])
        ]

    for done in lint(TEMPLATE):
        assert done.returncode == 0, done.stdout + done.stderr
    broken = tmp_path / "template.yaml"
    broken.write_text(TEMPLATE.read_text().replace("RetentionInDays", "RetentionDays"))
    for done in lint(broken):
        assert done.returncode and "RetentionDays" in done.stdout + done.stderr
    granted = re.findall(r"Action: (\S+)", TEMPLATE.read_text())
    assert granted and not [action for action in granted if "*" in action]


@pytest.fixture
def unpacked(one: Site, tmp_path: Path) -> Path:
    """The package of the old version, as Lambda unpacks it."""
    one.lifecycle("lambda", "package", one.old, f"build/{one.old}")
    with zipfile.ZipFile(one.path / "build" / f"lambda-{one.old}.zip") as package:
        package.extractall(tmp_path / "task")
    return tmp_path / "task"


def windows(one: Site, prefix: str) -> list[dict[str, Any]]:
    """Return the files of counts under a prefix in the bucket."""
    listed = f"client('s3').list_objects_v2(Bucket='models', Prefix='{prefix}/windows/').get('Contents', ())"
    got = "client('s3').get_object(Bucket='models', Key=item['Key'])['Body'].read()"
    found = f"[json.loads({got}) for item in {listed} if item['Key'].endswith('.json')]"
    return json.loads(one.cloud.run(f"print(json.dumps({found}))"))


def test_the_api_key_comes_from_ssm(one: Site, unpacked: Path) -> None:
    one.cloud.run("client('ssm').put_parameter(Name='/k/API_KEY', Value='k3y', Type='SecureString')")
    function = one.cloud.emulate(unpacked, HANDLER, API_KEY_PARAMETER="/k/API_KEY")
    for key, status in ((None, 401), ("wrong", 401), ("k3y", 422)):
        headers = JSON["headers"] | ({"x-api-key": key} if key else {})
        assert function.invoke(PREDICT | {"headers": headers, "body": "{}"})["statusCode"] == status
    function.stop()


def test_no_count_is_lost_when_lambda_ends_an_environment(one: Site, unpacked: Path) -> None:
    """What is not written yet is written at SIGTERM; what is due, between the answer and the freeze."""
    row = json.loads((unpacked / "model/manifest.json").read_text())["fixture"]["row"]
    event = PREDICT | JSON | {"body": json.dumps([row] * 3)}
    settings = {"WINDOWS_BUCKET": "models", "WINDOWS_PREFIX": "frozen"}
    idle = one.cloud.emulate(unpacked, HANDLER, **settings)
    assert [idle.invoke(event)["statusCode"] for _ in range(2)] == [200, 200]
    assert idle.invoke(event | {"body": "{}"})["statusCode"] == 422
    assert windows(one, "frozen") == []
    idle.stop()
    (window,) = until(lambda: windows(one, "frozen"))
    assert (window["rows"], window["rejected"]) == (6, 1)

    settings |= {"WINDOWS_PREFIX": "due", "WINDOW_SECONDS": "0"}
    busy = one.cloud.emulate(unpacked, HANDLER, **settings)
    busy.invoke(event)
    busy.invoke(event)  # Lambda thaws it only when the extension was done with the one before
    assert sum(window["rows"] for window in windows(one, "due")) in (3, 6)
    busy.stop()

    lost = one.cloud.emulate(unpacked, HANDLER, **settings | {"WINDOWS_BUCKET": "nowhere"})
    assert [lost.invoke(event)["statusCode"] for _ in range(2)] == [200, 200]
    assert until(lambda: "cannot write the served counts" in lost.log())
    lost.stop()


@pytest.fixture
def api() -> Iterator[Recorder]:
    with recorder() as api:
        yield api


def test_drift_is_seen_and_retraining_started_in_the_cloud(one: Site, api: Recorder) -> None:
    """Requests → windows → scheduled check → SQS → the events function → GitHub's API; then make drift."""
    one.release(one.old)
    one.cloud.run(
        f"client('ssm').put_parameter(Name='/{one.stack}/TRIGGER_TOKEN', Value='t', Type='SecureString')"
    )
    one.make("stack", PARAMETERS=f"TriggerUrl={api.url} WindowSeconds=0")
    one.release(one.old, AGAIN="1")
    before = one.ask({"task": "drift"}, "-events")  # of the tests before, what was written by now
    assert before["verdict"] == "insufficient data"
    recent = pd.read_parquet(one.path / "data/recent.parquet").tail(1000)
    columns = {
        c["name"] for c in json.loads((one.path / "build" / one.old / "schema.json").read_text())["columns"]
    }
    rows = json.loads(recent[sorted(columns)].to_json(orient="records", date_format="iso"))
    assert len(one.predict(rows)["predictions"]) == 1000
    until(lambda: any(window["rows"] == 1000 for window in windows(one, one.stack)))
    found = one.ask({"task": "drift"}, "-events")
    assert (found["verdict"], found["version"]) == ("drift", one.old)
    assert found["rows"] - before["rows"] == 1000
    path, headers, body = until(lambda: api.asked)[0]
    assert path == "/repos/me/churn/dispatches" and headers["authorization"] == "Bearer t"
    assert "distance_km" in json.loads(body)["client_payload"]["reason"]
    one.ask({"task": "drift"}, "-events")
    assert len(api.asked) == 1, "the cooldown holds"
    one.lifecycle("promote", one.old)
    one.make("windows")
    assert one.run("make", "drift", code=2).stdout.startswith(f"served: {found['rows']:,} rows")


def live(cloud: aws.Aws, stack: str) -> str:
    """Return the version of the model that a stack's alias leads to."""
    alias = f"client('lambda').get_alias(FunctionName={stack!r}, Name='live')['FunctionVersion']"
    code = f"client('lambda').get_function(FunctionName={stack!r}, Qualifier={alias})"
    return cloud.run(f"print({code}['Configuration']['Description'])").strip()


def stacks(path: Path, env: dict[str, str], cloud: aws.Aws, name: str, *verbs: str) -> str:
    """Make both stages' stacks, as a person does once, and return the version that both serve."""
    words = ["make", "setup", *verbs, "promote", "stack", "BUCKET=models", "WHY=first"]
    for more in ([], ["STAGE=staging"]):
        done = subprocess.run([*words, *more], cwd=path, env=env, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
    first = live(cloud, name)
    assert live(cloud, f"{name}-staging") == first
    return first


@pytest.mark.long
@pytest.mark.node
@pytest.mark.base
def test_gitlab_from_a_push_to_production_and_back(
    workshop: Workshop, cloud: aws.Aws, tmp_path: Path
) -> None:
    """Every job takes a role in AWS by a token, as GitLab gives it, and has no key."""
    repository = workshop.repository("gitlab-lambda", ci="gitlab", deploy="lambda", registry="s3")
    role = "arn:aws:iam::123456789012:role/parcels"
    variables = {"REGISTRY_URI": (tmp_path / "store").as_uri(), "AWS_ROLE": role, "AWS_TOKEN": "signed"}
    env = workshop.env | {name: text for name, text in cloud.env.items() if "KEY" not in name}
    pipeline = Pipeline.of(repository, tmp_path / "clone", env, **variables)

    pipeline.run("retrain")
    first = stacks(pipeline.path, env | cloud.env | variables, cloud, "parcels")
    change(pipeline.path, QUICK, "max_iter: 1")
    refused = pipeline.run("retrain", "staging", ok=False, DEPLOY="yes")
    assert "the gate rejects this candidate" in refused and live(cloud, "parcels-staging") == first

    change(pipeline.path, "max_iter: 1", "max_iter: 40")
    pipeline.run("--manual", "production", DEPLOY="yes")
    second = live(cloud, "parcels")
    assert second != first and live(cloud, "parcels-staging") == second
    pipeline.run("rollback", DEPLOY="yes", WHY="complaints")
    assert (live(cloud, "parcels"), live(cloud, "parcels-staging")) == (first, second)
    assert "insufficient data" in pipeline.run("drift", ok=False, DO="drift")


@pytest.mark.long
@pytest.mark.base
def test_github_from_a_push_to_production_and_back(
    workshop: Workshop, cloud: aws.Aws, tmp_path: Path
) -> None:
    answers = {"ci": "github", "deploy": "lambda", "registry": "s3"}
    repository = workshop.repository("github-lambda", project_name="orders", **answers)
    keys = {name: text for name, text in cloud.env.items() if "KEY" in name}
    env = workshop.env | {name: text for name, text in cloud.env.items() if name not in keys}
    with GitHub.of(repository, tmp_path / "runs", env) as here:
        here.role = keys
        here.vars = {"REGISTRY_URI": (tmp_path / "store").as_uri(), "AWS_ROLE": "arn:aws:iam::1:role/parcels"}
        first = stacks(repository, env | keys | here.vars, cloud, "orders", "retrain")
        here.vars["DEPLOY"] = "environment"
        change(repository, QUICK, "max_iter: 40")
        run = here.run("lifecycle.yml", "repository_dispatch", {"client_payload": {"reason": "drift"}})
        done = dict.fromkeys(("check", "audit", "retrain", "staging", "production"), "success")
        assert results(run) == done, said(run)
        second = run.jobs["retrain"].outputs["version"]
        assert live(cloud, "orders") == live(cloud, "orders-staging") == second != first
        taken = [
            given["role-to-assume"] for action, given in run.actions if action.startswith("aws-actions/")
        ]
        assert taken == ["arn:aws:iam::1:role/parcels"] * 3
        signed = [given["subject-path"] for action, given in run.actions if action == "actions/attest"]
        assert signed == [f"build/lambda-{second}.zip"] * 2

        run = here.say("/rollback complaints")
        assert results(run) == {"ask": "success", "act": "success"}, said(run)
        assert (live(cloud, "orders"), live(cloud, "orders-staging")) == (first, second)
        run = here.run("lifecycle.yml", "schedule", {"schedule": "41 5 * * *"})
        assert results(run) == {"drift": "failure"} and "insufficient data" in said(run)
