"""The pods of the Kubernetes target really run: as their specs say, hardened, from the images they name."""

import contextlib
import json
import shutil
import subprocess
import tempfile
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml
from conftest import Project, clean_environment, render
from services import podman
from services.podman import Podman, passes
from tools import KUBECTL, UV

pytestmark = [pytest.mark.podman, pytest.mark.slow]


@pytest.fixture(scope="module")
def project(
    template: Path, trained: Path, environment: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A project for Kubernetes with a trained model in build/model."""
    path = render(template, tmp_path_factory.mktemp("pod") / "churn", deploy="kubernetes")
    shutil.copy(environment / "uv.lock", path)
    for words in ([UV, "lock", "--quiet"], ["sh", "deploy/image.sh", "engine"]):  # the lock of its own groups
        subprocess.run(words, cwd=path, env=clean_environment(), check=True)
    Project(trained, environment).lifecycle("fetch", "--to", str(path / "build/model"))
    return path


@pytest.fixture(scope="module")
def engine(project: Path) -> Iterator[Podman]:
    """Podman with the image that serves."""
    scratch = tempfile.TemporaryDirectory(prefix="lm-", ignore_cleanup_errors=True)
    with scratch as folder, podman.engine(Path(folder)) as engine:
        version = manifest(project)["version"]
        engine.build(project, "localhost/churn:new", "--build-arg", f"VERSION={version}")
        yield engine


def manifest(project: Path) -> dict[str, Any]:
    return json.loads((project / "build/model/manifest.json").read_text())


def pod_of(project: Path, folder: str, kind: str, name: str) -> dict[str, Any]:
    """The pod spec of an object in an overlay, with the image that was built here."""
    command = [KUBECTL, "kustomize", str(project / "deploy/kubernetes" / folder)]
    items = yaml.safe_load_all(subprocess.run(command, capture_output=True, check=True).stdout)
    spec = next(i["spec"] for i in items if (i["kind"], i["metadata"]["name"]) == (kind, name))
    pod = spec.get("jobTemplate", {"spec": spec})["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    repository = container["image"].partition("@")[0].removeprefix("registry.example.com/")
    container["image"] = f"localhost/{repository}:new"
    return pod


@contextlib.contextmanager
def playing(engine: Podman, name: str, pod: dict[str, Any], **env: str) -> Iterator[str]:
    """Run a pod for as long as the block; yield the name of its container."""
    engine.play(name, pod, **env)
    yield f"{name}-{pod['containers'][0]['name']}"
    engine.run("pod", "rm", "--force", name)


def finished(engine: Podman, container: str) -> str:
    """Wait for a job's container, and return its log once it has succeeded."""
    code = engine.run("wait", container).strip()
    log = engine.run("logs", container)
    assert code == "0", log
    return log


def shared(folder: Path) -> None:
    """Let the pods' user write into a folder, as fsGroup does with a claim."""
    shutil.chown(folder, 10001, 10001)
    for parent in (folder, *folder.parents[:-2]):
        parent.chmod(0o755)


def test_the_server_runs_as_its_spec_says_and_passes_its_probes(engine: Podman, project: Path) -> None:
    pod = pod_of(project, "overlays/production", "Deployment", "churn")
    (container,) = pod["containers"]
    with playing(engine, "server", pod) as name:
        address = engine.address("server")
        for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
            assert passes(container[probe], container, address), f"{probe}\n{engine.run('logs', name)}"
        fixture = manifest(project)["fixture"]
        body = json.dumps(fixture["row"]).encode()
        request = urllib.request.Request(
            f"http://{address}:8000/predict", body, {"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=5) as answer:
            answered = json.load(answer)
        assert answered["version"] == manifest(project)["version"]
        expected = fixture["prediction"]["prediction"]
        assert answered["predictions"][0]["prediction"] == pytest.approx(expected, rel=1e-4)

        status = engine.run("exec", name, "cat", "/proc/1/status")
        for line in ("Uid:\t10001", "CapEff:\t0000000000000000", "NoNewPrivs:\t1", "Seccomp:\t2"):
            assert line in status
        as_root = ("exec", "--user", "0", name)
        assert "Read-only file system" in engine.run(*as_root, "touch", "/app/model/model.onnx", ok=False)
        assert "telemetry" not in engine.run("logs", name)


def test_a_probe_fails_when_there_is_no_good_model(engine: Podman, project: Path) -> None:
    pod = pod_of(project, "overlays/production", "Deployment", "churn")
    (container,) = pod["containers"]
    with playing(engine, "broken", pod | {"restartPolicy": "Never"}, MODEL_DIR="/app/src"):
        quick = container["readinessProbe"] | {"periodSeconds": 1, "failureThreshold": 5}
        assert not passes(quick, container, engine.address("broken"))


def test_the_scoring_job_does_its_shard_in_the_same_image(
    engine: Podman, project: Path, tmp_path: Path
) -> None:
    rows = pd.read_parquet(project / "data/deliveries.parquet")
    (tmp_path / "in").mkdir()
    for number in range(5):
        rows.iloc[number * 100 : (number + 1) * 100].to_parquet(tmp_path / f"in/part-{number}.parquet")
    shared(tmp_path)
    pod = pod_of(project, "overlays/production", "CronJob", "churn-score")
    pod["volumes"] = [{"name": "batch", "hostPath": {"path": str(tmp_path)}}]
    with playing(engine, "score", pod, JOB_COMPLETION_INDEX="1") as name:
        assert "shard 1/4: all 1 files are there" in finished(engine, name)
    (result,) = tmp_path.glob("out/version=*/*")
    assert result.name == "part-1.parquet"
    assert pd.read_parquet(result)["prediction"].notna().all()


@pytest.mark.long
def test_the_retraining_job_gets_from_data_to_a_registered_version(
    engine: Podman, project: Path, tmp_path: Path
) -> None:
    train = ["--target", "train", "--build-arg", "GIT_COMMIT=0123"]
    engine.build(project, "localhost/churn-train:new", *train)
    pod = pod_of(project, "jobs", "CronJob", "churn-retrain")
    shared(tmp_path)
    counts = {"name": "counts", "hostPath": {"path": str(tmp_path)}}
    pod["volumes"] = [counts if volume["name"] == "counts" else volume for volume in pod["volumes"]]
    uri = "sqlite:////app/artifacts/mlflow.db"  # in place of a server's address from the secret
    with playing(engine, "retrain", pod, MLFLOW_TRACKING_URI=uri) as name:
        log = finished(engine, name)
    assert "is in the registry, with the alias staging" in log
