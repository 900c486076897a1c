"""The manifests of the Kubernetes target under their three checkers, and each checker seen to reject."""

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from conftest import clean_environment, render
from tools import KUBECTL

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def shared(template: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return render(template, tmp_path_factory.mktemp("manifests") / "churn", deploy="kubernetes")


def check(project: Path) -> tuple[bool, str]:
    command, env = ["deploy/kubernetes/check.sh"], clean_environment()
    done = subprocess.run(command, cwd=project, env=env, capture_output=True, text=True)
    return done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("registry", ["mlflow", "s3"])
def test_every_overlay_passes_every_check(template: Path, tmp_path: Path, registry: str) -> None:
    project = render(template, tmp_path / "churn", deploy="kubernetes", registry=registry)
    passed, said = check(project)
    assert passed, said
    assert "Failed checks: 0" in said

    # And with every choice of production's turned on, but for the one that needs an operator's own kind.
    overlay = project / "deploy/kubernetes/overlays/production/kustomization.yaml"
    text = re.sub(r"^  # - (ingress|counts)", r"  - \1", overlay.read_text(), flags=re.M)
    head, commented, tail = text.partition("  # With counts.yaml:\n")
    assert commented
    block, rest = tail.split("\n\n", 1)
    overlay.write_text(head + re.sub(r"^  # ", "  ", block, flags=re.M) + "\n\n" + rest)
    passed, said = check(project)
    assert passed, said
    done = subprocess.run([KUBECTL, "kustomize", overlay.parent], capture_output=True, check=True)
    items = {item["kind"]: item for item in yaml.safe_load_all(done.stdout)}
    assert {"Ingress", "PersistentVolumeClaim"} <= set(items)
    volumes = items["Deployment"]["spec"]["template"]["spec"]["volumes"]
    assert volumes[0]["persistentVolumeClaim"] == {"claimName": "churn-counts"}


@pytest.mark.parametrize(
    ("file", "old", "new", "says"),
    [
        ("base/server.yaml", "maxSurge:", "maxSurges:", "maxSurges"),
        ("base/server.yaml", "runAsNonRoot: true", "runAsNonRoot: yes-please", "did not validate"),
        ("base/server.yaml", "readOnlyRootFilesystem: true", "readOnlyRootFilesystem: false", "CKV_K8S_22"),
        ("base/server.yaml", "checkov.io/skip1", "checkov.io/other", "CKV_K8S_11"),
        (
            "overlays/production/kustomization.yaml",
            "    digest: sha256:0",
            "    newTag: latest #",
            "CKV_K8S_14",
        ),
        ("overlays/canary/kustomization.yaml", "../../base", "../../nowhere", "nowhere"),
    ],
)
def test_each_check_rejects(
    shared: Path,
    tmp_path: Path,
    file: str,
    old: str,
    new: str,
    says: str,
) -> None:
    shutil.copytree(shared, tmp_path / "churn")
    path = tmp_path / "churn/deploy/kubernetes" / file
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new))
    passed, said = check(tmp_path / "churn")
    assert not passed and says in said


def manifests(project: Path, folder: str) -> dict[str, dict[str, Any]]:
    command = [KUBECTL, "kustomize", str(project / "deploy/kubernetes" / folder)]
    done = subprocess.run(command, capture_output=True, check=True)
    return {item["kind"]: item for item in yaml.safe_load_all(done.stdout)}


def test_what_each_overlay_holds(shared: Path) -> None:
    server = {"Deployment", "Service", "HorizontalPodAutoscaler", "NetworkPolicy"}
    assert set(manifests(shared, "overlays/staging")) == server, "a budget would protect nothing there"
    production = manifests(shared, "overlays/production")
    assert set(production) == server | {"PodDisruptionBudget", "CronJob"}
    assert "replicas" not in production["Deployment"]["spec"], "the autoscaler decides"
    assert production["HorizontalPodAutoscaler"]["spec"]["minReplicas"] >= 2
    canary = manifests(shared, "overlays/canary")
    assert set(canary) == {"Deployment"}
    selector = production["Service"]["spec"]["selector"]
    for item in (production["Deployment"], canary["Deployment"]):
        assert selector.items() <= item["spec"]["template"]["metadata"]["labels"].items()
        assert re.search(r"@sha256:\w{64}$", item["spec"]["template"]["spec"]["containers"][0]["image"])
    stable, second = (d["Deployment"]["spec"]["selector"]["matchLabels"] for d in (production, canary))
    assert stable["track"] != second["track"], "else each would take the other's pods for its own"
    score = production["CronJob"]["spec"]["jobTemplate"]["spec"]
    env = score["template"]["spec"]["containers"][0]["env"]
    assert env == [{"name": "JOB_COMPLETIONS", "value": str(score["completions"])}]


def test_every_policy_that_is_not_kept_has_its_reason(shared: Path) -> None:
    skips = [
        line.split("=", 1)
        for path in (shared / "deploy/kubernetes").rglob("*.yaml")
        for line in path.read_text().splitlines()
        if "checkov.io/skip" in line
    ]
    assert skips and all(len(skip) == 2 and len(skip[1].split()) >= 5 for skip in skips)
