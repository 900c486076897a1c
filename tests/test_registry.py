"""Both registries, on four stores: MLflow's sqlite, its server, a folder, and a real S3 server.

tests/registry holds the suites; they run in a rendered project's environment, one process for each store.
"""

import contextlib
import json
import os
import shutil
import subprocess
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from conftest import ROOT, Project, clean_environment, git, render
from services import ceph, mlflow
from tools import UV

pytestmark = pytest.mark.slow
SUITES = ROOT / "tests/registry"
BUCKET = "models"


@dataclass(frozen=True)
class Store:
    """One of the four: the answer, and the environment variables that choose it."""

    kind: str
    answer: str
    env: dict[str, str]
    project: Path
    venv: Path

    def suite(self, name: str) -> subprocess.CompletedProcess[str]:
        """Run a suite, and fail with what it said."""
        words = ["-c", os.devnull, "--rootdir", str(SUITES), "--confcutdir", str(SUITES), "-q", "--tb=short"]
        words += ["-p", "no:cacheprovider", "-W", "ignore", str(SUITES / name)]
        project = Project(self.project, self.venv, self.env | {"REGISTRY_KIND": self.kind})
        path = os.pathsep.join([str(self.project / "src"), str(SUITES)])
        done = project.python("-m", "pytest", *words, PYTHONPATH=path)
        assert done.returncode == 0, done.stdout + done.stderr
        return done


@pytest.fixture(scope="session")
def s3_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ceph.Gateway]:
    with contextlib.ExitStack() as stack:
        try:
            yield stack.enter_context(ceph.gateway(tmp_path_factory.mktemp("s3") / "ceph"))
        except ceph.CephMissing as error:
            pytest.fail(str(error), pytrace=False)


@pytest.fixture(scope="session")
def bucket(s3_server: ceph.Gateway, registry_environment: Path) -> dict[str, str]:
    """An empty bucket, and the variables of its owner."""
    env = s3_server.user("owner")
    s3(registry_environment, env, f"client.create_bucket(Bucket={BUCKET!r})")
    return env


def s3(venv: Path, env: dict[str, str], code: str) -> str:
    """Run code on a client of boto3, which is in the rendered project's environment and not in ours."""
    program = f"import boto3\nclient = boto3.client('s3')\n{code}"
    words = [str(venv / "bin/python"), "-c", program]
    done = subprocess.run(words, env=clean_environment(**env), capture_output=True, text=True)
    return done.stdout + done.stderr


@pytest.fixture(scope="session")
def registry_environment(environment: Path) -> Path:
    """The shared environment, with what the other answer needs besides."""
    words = [UV, "pip", "install", "--quiet", "--python", str(environment), "boto3>=1.36"]
    subprocess.run(words, env=clean_environment(), check=True)
    return environment


@pytest.fixture(scope="session")
def mlflow_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    folder = tmp_path_factory.mktemp("mlflow")
    with mlflow.server(folder) as url:
        yield url, folder / "artifacts"


KINDS = ["mlflow-sqlite", "mlflow-http", "s3-file", pytest.param("s3-ceph", marks=pytest.mark.s3)]


@pytest.fixture(scope="session", params=KINDS)
def store(
    request: pytest.FixtureRequest,
    template: Path,
    registry_environment: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Store:
    kind, answer, env = request.param, request.param.partition("-")[0], {}
    if kind == "mlflow-http":
        url, files = request.getfixturevalue("mlflow_server")
        env = {"REGISTRY_PLACE": url, "REGISTRY_FILES": str(files), "MLFLOW_TRACKING_URI": url}
    elif kind == "s3-ceph":
        env = request.getfixturevalue("bucket") | {
            "REGISTRY_PLACE": f"s3://{BUCKET}/suite",
            "REGISTRY_URI": f"s3://{BUCKET}/life",
        }
    project = render(template, tmp_path_factory.mktemp(kind) / "churn", registry=answer)
    shutil.copy(registry_environment / "uv.lock", project)
    return Store(kind, answer, env, project, registry_environment)


def test_the_contract_holds(store: Store) -> None:
    done = store.suite("contract.py")
    assert "14 passed" in done.stdout


def test_faults_leave_nothing_half_done(store: Store) -> None:
    done = store.suite("faults.py")
    assert "11 passed" in done.stdout


def test_a_bad_network_is_told_clearly_and_soon(store: Store) -> None:
    if store.kind not in ("mlflow-http", "s3-ceph"):
        return  # nothing goes over a network
    done = store.suite("network.py")
    assert "9 passed" in done.stdout


@pytest.fixture(scope="session")
def candidate(template: Path, trained: Path) -> Path:
    """The artifacts of a project whose candidate passed the gate."""
    return trained / "artifacts"


def test_the_same_life_on_every_store(store: Store, candidate: Path, tmp_path: Path) -> None:
    """Register, promote, register another, promote it, roll back: the commands a user types."""
    folder = tmp_path / "churn"
    shutil.copytree(store.project, folder)
    shutil.copytree(candidate, folder / "artifacts")
    project = Project(folder, store.venv, store.env)
    project.lifecycle("register")
    done = project.lifecycle("promote", "--why", "first release", "--by", "Ada")
    first = json.loads(project.lifecycle("versions", "--json").stdout)[0]
    assert first["aliases"] == ["production", "staging"] and first["version"] in done.stdout
    manifest = json.loads(project.lifecycle("show", "--json").stdout)
    assert manifest["version"] == first["version"]
    assert manifest["data_hash"] in project.lifecycle("show", first["version"]).stdout
    alone = project.lifecycle("rollback", ok=False)
    assert alone.returncode == 6 and "no version before" in alone.stderr
    project.edit("params.yaml", "compare_with_live: true", "compare_with_live: false")
    project.edit("params.yaml", "max_iter: 300", "max_iter: 200")

    env = project.verbs(tmp_path / "bin")
    verbs = [["make", verb, "WHY=worse"] for verb in ("retrain", "promote", "rollback")]
    said = [
        subprocess.run(verb, cwd=folder, env=env, text=True, stdout=subprocess.PIPE, check=True).stdout
        for verb in verbs
    ]
    assert f"before it was {first['version']}" in said[1]
    assert f"production is {first['version']}" in said[2] and "worse" in said[2]
    moves = json.loads(project.lifecycle("history", "--json").stdout)
    assert [(move["action"], move["alias"]) for move in moves] == [
        ("promote", "staging"),
        ("promote", "production"),
        ("promote", "staging"),
        ("promote", "production"),
        ("rollback", "production"),
    ]
    table = project.lifecycle("history").stdout
    assert table.count("\n") == 6 and "worse" in table
    assert project.lifecycle("fetch", "--to", "build/model").stdout.strip() == first["version"]
    assert json.loads(project.lifecycle("prune", "--keep", "1", "--json").stdout) == []


@pytest.mark.parametrize("answer", ["mlflow", "s3"])
def test_a_full_disk_leaves_the_registry_as_it_was(
    template: Path, registry_environment: Path, candidate: Path, tmp_path: Path, answer: str
) -> None:
    folder = render(template, tmp_path / "churn", registry=answer)
    shutil.copytree(candidate, folder / "artifacts")
    disk = tmp_path / "disk"
    disk.mkdir()
    size = "3m" if answer == "mlflow" else "900k"
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(disk)], check=True)
    try:
        key = "MLFLOW_TRACKING_URI" if answer == "mlflow" else "REGISTRY_URI"
        uri = f"sqlite:///{disk}/mlflow.db" if answer == "mlflow" else f"file://{disk}"
        project = Project(folder, registry_environment, {key: uri})
        project.lifecycle("versions")
        room = os.statvfs(disk).f_bavail * os.statvfs(disk).f_frsize
        (disk / "ballast").write_bytes(b"x" * max(0, room - 300_000))
        done = project.lifecycle("register", ok=False)
        assert done.returncode == 6, done.stdout + done.stderr
        assert "Traceback" not in done.stderr and "next:" in done.stderr
        (disk / "ballast").unlink()
        assert json.loads(project.lifecycle("versions", "--json").stdout) == []
        subprocess.run(["mount", "-o", "remount,size=64m", str(disk)], check=True)
        project.lifecycle("register")
        project.lifecycle("fetch", "staging", "--to", str(tmp_path / "model"))
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def test_a_project_with_mlflow_may_be_moved_and_copied(trained_copy: Project, tmp_path: Path) -> None:
    """A copy finds its own artifacts, also when the original is gone, and writes only into itself."""
    original = trained_copy.path.rename(tmp_path / "original")
    copy = Project(shutil.copytree(original, tmp_path / "elsewhere/copy"), trained_copy.venv)
    original = Project(original, trained_copy.venv)
    files = sorted(original.path.glob("mlartifacts/**/*"))
    hidden = original.path.rename(tmp_path / "hidden")
    copy.lifecycle("fetch", "--to", "build/model")
    hidden.rename(original.path)
    copy.edit("params.yaml", "compare_with_live: true", "compare_with_live: false")
    copy.edit("params.yaml", "max_iter: 300", "max_iter: 200")
    for step in ("train", "evaluate", "register", "promote"):
        copy.lifecycle(step)
    assert sorted(original.path.glob("mlartifacts/**/*")) == files
    original.lifecycle("fetch", "--to", "build/model")
    copy.lifecycle("rollback")
    copy.lifecycle("fetch", "--to", "build/model")


def test_a_version_can_be_made_again_from_its_lineage(
    make_project: Callable[..., Project], tmp_path: Path
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
    again = Project((project.path / enter.removeprefix("cd ")).resolve(), project.venv)
    for step in steps:
        again.lifecycle(step.split()[-1])
    rebuilt = json.loads((again.path / "artifacts/candidate/manifest.json").read_text())
    for key in ("git_commit", "data_hash", "lock_hash", "params", "files"):
        assert rebuilt[key] == shown[key], key
    timed = {"latency_ms"}
    assert {k: v for k, v in rebuilt["metrics"].items() if k not in timed} == {
        k: v for k, v in shown["metrics"].items() if k not in timed
    }


def test_mlflow_models_serve_answers_as_we_do(trained: Path, tmp_path: Path) -> None:
    """Its input example, posted to MLflow's own server, gets the prediction of the fixture row."""
    model = next((trained / "mlartifacts").rglob("serving_input_example.json"))
    fixture = json.loads((trained / "artifacts/candidate/manifest.json").read_text())["fixture"]
    with mlflow.serve(tmp_path, f"sqlite:///{trained}/mlflow.db", "models:/churn@production") as url:
        request = urllib.request.Request(
            f"{url}/invocations", model.read_bytes(), {"Content-Type": "application/json"}
        )
        answer = json.load(urllib.request.urlopen(request, timeout=30))
    ((prediction,),) = answer["predictions"].values()
    assert prediction == pytest.approx([fixture["prediction"]["prediction"]], rel=1e-5)


def policy(name: str, prefix: str) -> str:
    """One of the rendered policies, filled in as its README says."""
    text = (ROOT / f"template/deploy/s3/{name}.json").read_text()
    for role in ("reader", "publisher", "promoter"):
        text = text.replace(role.upper(), role)
    return text.replace("BUCKET", "guarded").replace("PREFIX", prefix)


@pytest.mark.s3
def test_windows_of_lambda_are_merged_in_the_bucket(
    template: Path, registry_environment: Path, bucket: dict[str, str], tmp_path: Path
) -> None:
    folder = render(template, tmp_path / "churn", deploy="lambda", registry="s3")
    env = bucket | {"WINDOWS_BUCKET": BUCKET}
    done = Store("s3-ceph", "s3", env, folder, registry_environment).suite("windows.py")
    assert "6 passed" in done.stdout


@pytest.mark.s3
def test_the_policies_give_three_roles_what_they_need(
    s3_server: ceph.Gateway, registry_environment: Path, template: Path, candidate: Path, tmp_path: Path
) -> None:
    owner = s3_server.user("guardian")
    roles = {role: s3_server.user(role) for role in ("reader", "publisher", "promoter")}
    said = s3(
        registry_environment,
        owner,
        "client.create_bucket(Bucket='guarded')\n"
        f"client.put_bucket_policy(Bucket='guarded', Policy={policy('bucket-policy', 'churn')!r})",
    )
    assert not said
    folder = render(template, tmp_path / "churn", registry="s3")
    shutil.copytree(candidate, folder / "artifacts")
    project = Project(folder, registry_environment, {"REGISTRY_URI": "s3://guarded/churn"})

    def run(role: str, *words: str) -> subprocess.CompletedProcess[str]:
        return project.lifecycle(*words, ok=False, **roles[role])

    refused = run("reader", "register")
    assert refused.returncode == 6 and "AccessDenied" in refused.stderr and "deploy/s3" in refused.stderr
    assert run("publisher", "register").returncode == 0
    assert run("publisher", "promote").returncode == 6
    assert run("reader", "fetch", "staging", "--to", "build/model").returncode == 0
    assert run("reader", "promote").returncode == 6
    assert run("promoter", "promote").returncode == 0
    assert run("promoter", "prune").returncode == 0
    version = run("reader", "versions", "--json").stdout
    assert "production" in version
    stolen = "client.delete_object(Bucket='guarded', Key='churn/aliases/production.json')"
    assert "AccessDenied" in s3(registry_environment, roles["publisher"], stolen)
    nobody = s3_server.variables("nobody", "wrong")
    done = project.lifecycle("versions", ok=False, **nobody)
    assert done.returncode == 6 and "credentials" in done.stderr


def test_the_iam_policies_say_what_the_bucket_policy_says() -> None:
    for name, role in (("iam-read", "reader"), ("iam-publish", "publisher"), ("iam-promote", "promoter")):
        whole = json.loads(policy("bucket-policy", "churn"))["Statement"]
        granted = [item for item in whole if f"user/{role}" in json.dumps(item.pop("Principal"))]
        assert json.loads(policy(name, "churn"))["Statement"] == granted
