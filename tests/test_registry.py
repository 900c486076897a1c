"""The registry on real servers, MLflow's and an S3 server; on a folder and on sqlite see tests/lifecycle."""

import contextlib
import json
import os
import subprocess
import urllib.request
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import boto3
import pytest
from click.testing import CliRunner
from conftest import ROOT, git
from conftest import Project as Rendered
from lifecycle.cli import app
from lifecycle.errors import RegistryError
from lifecycle.model.package import MANIFEST, verify
from lifecycle.project import VARIABLE, Project
from lifecycle.registry.base import open_registry
from lifecycle.state.store import open_state
from registry import support
from registry.contract import *  # noqa: F403
from registry.faults import *  # noqa: F403
from registry.network import *  # noqa: F403
from registry.support import CEPH, SERVER, Place, make_candidate, make_place
from services import ceph, mlflow

pytestmark = pytest.mark.slow
BUCKET = "models"
versions, own_environment = support.versions, support.own_environment


@pytest.fixture(scope="session")
def s3_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ceph.Gateway]:
    with contextlib.ExitStack() as stack:
        try:
            yield stack.enter_context(ceph.gateway(tmp_path_factory.mktemp("s3") / "ceph"))
        except ceph.CephMissing as error:
            pytest.fail(str(error), pytrace=False)


def s3(env: dict[str, str]) -> Any:
    """Return a client of boto3; from here on every client signs as that user."""
    os.environ.update(env)
    boto3.setup_default_session()
    return boto3.client("s3")


@pytest.fixture(scope="session")
def bucket(s3_server: ceph.Gateway) -> dict[str, str]:
    """An empty bucket, and the variables of its owner."""
    env = s3_server.user("owner")
    with mock.patch.dict(os.environ):
        s3(env).create_bucket(Bucket=BUCKET)
    return env


@pytest.fixture(scope="session")
def mlflow_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    folder = tmp_path_factory.mktemp("mlflow")
    with mlflow.server(folder) as url:
        yield url, folder / "artifacts"


@pytest.fixture(params=[SERVER, pytest.param(CEPH, marks=pytest.mark.s3)])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    """An empty registry."""
    if request.param == SERVER:
        url, files = request.getfixturevalue("mlflow_server")
        return make_place(SERVER, tmp_path / "project", env={"MLFLOW_TRACKING_URI": url}, files=files)
    env = request.getfixturevalue("bucket")
    s3(env)
    uri = f"s3://{BUCKET}/{uuid.uuid4().hex[:8]}"
    return make_place(CEPH, tmp_path / "project", env=env | {"REGISTRY_URI": uri})


@pytest.fixture
def run(place: Place, monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """Return a function that runs `lifecycle …` in the project of a registry and returns what it prints."""
    root = place.project.root
    answers = f'package = "churn"\nregistry = "{place.project.registry}"\ndeploy = "docker"\n'
    text = f'[project]\nname = "{place.project.name}"\n[tool.lifecycle]\n{answers}'
    (root / "pyproject.toml").write_text(text)
    (root / "src/churn").mkdir(parents=True)
    monkeypatch.syspath_prepend(root / "src")
    monkeypatch.setenv(VARIABLE, str(root))
    place.open()

    def call(*words: str) -> str:
        done = CliRunner().invoke(app, words)
        if done.exception and not isinstance(done.exception, SystemExit):
            raise done.exception
        assert done.exit_code == 0, done.output
        return done.stdout

    return call


def test_a_life_by_the_commands_that_a_user_types(
    place: Place, run: Callable[..., str], tmp_path: Path
) -> None:
    first, second = (place.open().publish(make_candidate(tmp_path / f"c{n}", n)) for n in range(2))
    assert first in run("promote", first, "--why", "first release", "--by", "Ada")
    assert json.loads(run("versions", "--json"))[1] == {"version": first, "aliases": ["production"]}
    assert json.loads(run("show", "--json"))["version"] == first
    with pytest.raises(RegistryError, match="no version before"):
        run("rollback")
    assert f"before it was {first}" in run("promote", second)
    assert f"production is {first}" in run("rollback", "--why", "worse")
    moves = json.loads(run("history", "--json"))
    assert [move["action"] for move in moves] == ["promote", "promote", "rollback"]
    assert run("fetch", "--to", str(tmp_path / "model")).strip() == first
    assert verify(tmp_path / "model").version == first
    assert json.loads(run("prune", "--keep", "1", "--json")) == []


@pytest.mark.s3
def test_the_state_is_beside_the_registry(bucket: dict[str, str], tmp_path: Path) -> None:
    """Of two who change it one succeeds, in a bucket too; a host that names the bucket sees the same."""
    s3(bucket)
    os.environ["REGISTRY_URI"] = f"s3://{BUCKET}/{uuid.uuid4().hex[:8]}"
    state = open_state(Project("churn", "churn", "s3", "docker", tmp_path))
    assert state.swap("checks", "a", "") and not state.swap("checks", "b", "")
    text, tag = state.read("checks")
    assert text == "a" and state.swap("checks", "c", tag) and not state.swap("checks", "d", tag)
    os.environ["STATE_URI"] = os.environ.pop("REGISTRY_URI")
    assert open_state(Project("churn", "churn", "mlflow", "docker", tmp_path)).read("checks")[0] == "c"


@pytest.mark.parametrize(("answer", "size"), [("mlflow", "3m"), ("s3", "900k")])
def test_a_full_disk_leaves_the_registry_as_it_was(tmp_path: Path, answer: str, size: str) -> None:
    disk, folder = tmp_path / "disk", make_candidate(tmp_path / "candidate", padding=400_000)
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(disk)], check=True)
    try:
        project = Project("churn", "churn", answer, "docker", disk)
        assert open_registry(project).versions() == []
        room = os.statvfs(disk).f_bavail * os.statvfs(disk).f_frsize
        (disk / "ballast").write_bytes(b"x" * max(0, room - 300_000))
        with pytest.raises(RegistryError) as raised:
            open_registry(project).publish(folder)
        assert raised.value.next_step
        (disk / "ballast").unlink()
        assert open_registry(project).versions() == []
        subprocess.run(["mount", "-o", "remount,size=64m", str(disk)], check=True)
        version = open_registry(project).publish(folder)
        open_registry(project).fetch(version, tmp_path / "model")
    finally:
        subprocess.run(["umount", "--lazy", str(disk)], check=True)


def test_a_version_can_be_made_again_from_its_lineage(
    make_project: Callable[..., Rendered], tmp_path: Path
) -> None:
    """Its own commands, in a worktree of its commit, give the same training data and the same metrics."""
    project = make_project()
    git(project.path, "add", "-A")
    git(project.path, "commit", "-qm", "The lock file")
    project.train()
    shown = json.loads(project.lifecycle("show", "staging", "--json").stdout)
    assert shown["lock_hash"] and not shown["git_commit"].endswith("-dirty")
    project.edit("params.yaml", "max_iter: 300", "max_iter: 20")
    git(project.path, "commit", "-qam", "Later work")
    worktree, enter, packages, *steps = shown["rebuild"]
    assert packages == "uv sync --frozen"  # here the shared environment has them already
    git(project.path, *worktree.split()[1:])
    again = Rendered((project.path / enter.removeprefix("cd ")).resolve(), project.venv)
    for step in steps:
        again.lifecycle(step.split()[-1])
    rebuilt = json.loads((again.path / "artifacts/candidate/manifest.json").read_text())
    for key in ("git_commit", "data_hash", "lock_hash", "params", "files"):
        assert rebuilt[key] == shown[key], key
    timed = {"latency_ms"}
    assert {k: v for k, v in rebuilt["metrics"].items() if k not in timed} == {
        k: v for k, v in shown["metrics"].items() if k not in timed
    }


def test_mlflow_models_serve_answers_as_we_do(trained_copy: Rendered, tmp_path: Path) -> None:
    """Its input example, posted to MLflow's own server, gets the prediction of the fixture row."""
    path = trained_copy.path
    trained_copy.edit("pyproject.toml", 'registry = "s3"', 'registry = "mlflow"')
    trained_copy.lifecycle("register")
    model = next((path / "mlartifacts").rglob("serving_input_example.json"))
    fixture = json.loads((path / "artifacts/candidate/manifest.json").read_text())["fixture"]
    with mlflow.serve(tmp_path, f"sqlite:///{path}/mlflow.db", "models:/churn@staging") as url:
        request = urllib.request.Request(
            f"{url}/invocations", model.read_bytes(), {"Content-Type": "application/json"}
        )
        answer = json.load(urllib.request.urlopen(request, timeout=30))
    ((prediction,),) = answer["predictions"].values()
    assert prediction == pytest.approx([fixture["prediction"]["prediction"]], rel=1e-5)


def policy(name: str) -> dict[str, Any]:
    """One of the rendered policies, filled in as docs/setup.md says."""
    text = (ROOT / "template/deploy/s3/policies.json").read_text()
    for role in ("reader", "publisher", "promoter"):
        text = text.replace(role.upper(), role)
    return json.loads(text.replace("BUCKET", "guarded").replace("PREFIX", "churn"))[name]


@pytest.mark.s3
def test_the_policies_give_three_roles_what_they_need(s3_server: ceph.Gateway, tmp_path: Path) -> None:
    owner = s3_server.user("guardian")
    roles = {role: s3_server.user(role) for role in ("reader", "publisher", "promoter")}
    roles["nobody"] = s3_server.variables("nobody", "wrong")
    client = s3(owner)
    client.create_bucket(Bucket="guarded")
    client.put_bucket_policy(Bucket="guarded", Policy=json.dumps(policy("bucket")))
    os.environ["REGISTRY_URI"] = "s3://guarded/churn"
    project = Project("churn", "churn", "s3", "docker", tmp_path)
    folder = make_candidate(tmp_path / "candidate")
    version = json.loads((folder / MANIFEST).read_text())["version"]

    def as_role(role: str) -> Any:
        s3(roles[role])
        return open_registry(project)

    def refused(match: str, act: Callable[[], Any]) -> None:
        with pytest.raises(RegistryError, match=match) as raised:
            act()
        assert "credentials" in raised.value.next_step and "deploy/s3" in raised.value.next_step

    refused("AccessDenied", lambda: as_role("reader").publish(folder))
    assert as_role("publisher").publish(folder) == version
    as_role("publisher").promote(version, "staging", "Ada", "")
    refused("AccessDenied", lambda: as_role("publisher").promote("staging", "production", "Ada", ""))
    as_role("reader").fetch("staging", tmp_path / "model")
    refused("AccessDenied", lambda: as_role("reader").promote("staging", "production", "Ada", ""))
    as_role("promoter").promote("staging", "production", "Ada", "")
    assert as_role("promoter").prune(20) == []
    assert as_role("reader").aliases() == {"staging": version, "production": version}
    thief = s3(roles["publisher"])
    with pytest.raises(thief.exceptions.ClientError, match="AccessDenied"):
        thief.delete_object(Bucket="guarded", Key="churn/aliases/production.json")
    refused("", lambda: as_role("nobody").versions())


def test_the_policies_of_roles_say_what_the_one_of_the_bucket_says() -> None:
    for name, role in (("read", "reader"), ("publish", "publisher"), ("promote", "promoter")):
        whole = policy("bucket")["Statement"]
        granted = [item for item in whole if f"user/{role}" in json.dumps(item.pop("Principal"))]
        assert policy(name)["Statement"] == granted
