"""The pipelines of GitHub and GitLab really run: their own commands in fresh clones, a Docker host by ssh.

GitHub's file is run by services/github.py, GitLab's by gitlab-ci-local; the model has few trees.
"""

import contextlib
import json
import re
import subprocess
from pathlib import Path

import pytest
from conftest import git
from services import docker, kube_api, mlflow
from services.github_events import GitHub, results, said
from services.gitlab import Pipeline
from services.kube_cluster import VERSION, Cluster
from services.pipelines import QUICK, Box, Workshop, change

pytestmark = [pytest.mark.docker, pytest.mark.slow]

BY_STRANGERS = '\'; touch hacked; $(touch hacked) `touch hacked` $(shell touch hacked) "quoted"'
STAGES = ("parcels-staging", "parcels-production")
DONE = dict.fromkeys(("check", "audit", "retrain", "staging", "production"), "success")


@pytest.mark.base
@pytest.mark.parametrize("registry", ["s3", pytest.param("mlflow", marks=pytest.mark.long)])
def test_github_from_a_push_to_production_and_back(
    workshop: Workshop, box: Box, tmp_path: Path, registry: str
) -> None:
    repository = workshop.repository(f"github-{registry}", ci="github", deploy="docker", registry=registry)
    store = {"REGISTRY_URI": (tmp_path / "store").as_uri()}
    with contextlib.ExitStack() as stack:
        if registry == "mlflow":
            store = {"MLFLOW_TRACKING_URI": stack.enter_context(mlflow.server(tmp_path / "mlflow"))}
        here = stack.enter_context(GitHub.of(repository, tmp_path / "runs", box.env))
        host = box.clone(repository, **store)
        here.secrets = {"DEPLOY_KEY": box.host.key}
        here.vars = store | {"IMAGE_REGISTRY": box.images, "DEPLOY": "environment"}
        here.vars |= {"DEPLOY_HOST": box.host.url, "DEPLOY_KNOWN_HOSTS": box.host.known_hosts}
        here.vars |= {"DEPLOY_FOLDER": str(box.folder / repository.name)}

        run = here.push()
        assert results(run) == DONE, said(run)
        first = run.jobs["retrain"].outputs["version"]
        assert box.serves(box.staging) == box.serves(box.port) == first
        summary = run.jobs["retrain"].summary
        assert "% better than a naive model" in summary and "```mermaid\nxychart-beta" in summary
        image = run.jobs["retrain"].outputs["image"]
        assert re.fullmatch(rf"{box.images}/parcels@sha256:[0-9a-f]{{64}}", image)
        assert image in box.docker("inspect", "--format", "{{.RepoDigests}}", f"parcels:{first}")
        signed = [given for action, given in run.actions if action == "actions/attest"]
        assert [given["subject-digest"] for given in signed] == [image.partition("@")[2]] * 2

        change(repository, QUICK, "max_iter: 1")
        run = here.push()
        assert results(run) == {"check": "success", "audit": "success", "retrain": "failure"}, said(run)
        ran = dict(run.jobs["retrain"].ran)
        assert "the gate rejects this candidate" in run.jobs["retrain"].said
        assert [ended for name, ended in ran.items() if name.startswith("Build")] == ["skipped"]
        assert "worse than the live model" in run.jobs["retrain"].summary
        assert box.serves(box.staging) == first

        here.vars["DEPLOY"] = "comment"
        change(repository, "max_iter: 1", "max_iter: 40")
        run = here.push()
        assert results(run) == {name: DONE[name] for name in DONE if name != "production"}, said(run)
        second = run.jobs["retrain"].outputs["version"]
        assert (box.serves(box.staging), box.serves(box.port)) == (second, first)

        run = here.say(f"/promote {second} I want it", actor="eve")
        assert results(run) == {"ask": "failure"} and "eve may not" in said(run)
        run = here.say("/promote the best one")
        assert results(run) == {"ask": "failure"} and "which version?" in said(run)
        assert results(here.say("I would /rollback")) == {}
        body = f"### Version\n\n{second}\n\n### Why\n\nmore trees,\nand {BY_STRANGERS}"
        issue = {"issue": {"number": 8, "title": f"Promote version {second}", "body": body}}
        run = here.run("production.yml", "issues", issue)
        assert results(run) == {"ask": "success", "act": "success"}, said(run)
        assert box.serves(box.port) == second and "success" in here.hub.comments["8"][0]

        run = here.say(f"/rollback complaints {BY_STRANGERS}\n\nsorry")
        assert results(run) == {"ask": "success", "act": "success"}, said(run)
        assert box.serves(box.port) == first and "rollback" in here.hub.comments["7"][0]
        moves = here.history(**store)
        assert [(move["action"], move["version"], move["by"]) for move in moves] == [
            ("promote", first, "ada"),
            ("promote", second, "ada"),
            ("rollback", first, "ada"),
        ]
        assert moves[1]["reason"] == f"more trees, and {BY_STRANGERS}"
        assert moves[2]["reason"] == f"complaints {BY_STRANGERS} sorry"
        assert not list(tmp_path.rglob("hacked")) and not list(host.rglob("hacked"))

        run = here.run("lifecycle.yml", "schedule", {"schedule": "41 5 * * *"})
        assert results(run) == {"drift": "failure"} and "insufficient data" in said(run)


@pytest.mark.node
@pytest.mark.base
def test_gitlab_from_a_push_to_production_and_back(workshop: Workshop, box: Box, tmp_path: Path) -> None:
    repository = workshop.repository("gitlab", ci="gitlab", deploy="docker", registry="s3")
    store = (tmp_path / "store").as_uri()
    box.clone(repository, REGISTRY_URI=store)
    variables = {"REGISTRY_URI": store, "IMAGE_REGISTRY": box.images, "DEPLOY": "yes"}
    variables |= {"DEPLOY_HOST": box.host.url, "DEPLOY_FOLDER": str(box.folder / "gitlab")}
    variables |= {"DEPLOY_KNOWN_HOSTS": box.host.known_hosts, "DEPLOY_KEY": box.host.key}
    variables |= {"IMAGE_REGISTRY_USER": "ada", "IMAGE_REGISTRY_TOKEN": "any"}
    pipeline = Pipeline.of(repository, tmp_path / "clone", box.env, **variables)

    pipeline.run("--manual", "production")
    first = box.serves(box.port)
    assert box.serves(box.staging) == first

    change(pipeline.path, QUICK, "max_iter: 1")
    refused = pipeline.run("retrain", "staging", ok=False)
    assert "the gate rejects this candidate" in refused and "worse than the live model" in refused
    assert "Successfully built" not in refused and box.serves(box.staging) == first

    change(pipeline.path, "max_iter: 1", "max_iter: 40")
    git(pipeline.path, "push", str(repository), "HEAD:refs/heads/next")
    pipeline.run("retrain", "staging", "production")
    second = box.serves(box.port)
    assert second != first and box.serves(box.staging) == second
    pipeline.run("rollback", WHY=f"complaints {BY_STRANGERS}")
    assert box.serves(box.port) == first
    assert "insufficient data" in pipeline.run("drift", ok=False, DO="drift")
    assert not list(tmp_path.rglob("hacked"))


def live(cluster: Cluster) -> list[str]:
    """Return the version in each namespace."""
    found = [cluster.get(stage, "deployments", "parcels") or {} for stage in STAGES]
    return [item["spec"]["template"]["metadata"]["labels"][VERSION] if item else "" for item in found]


@pytest.mark.long
@pytest.mark.node
@pytest.mark.base
def test_gitlab_on_kubernetes(workshop: Workshop, engine_env: dict[str, str], tmp_path: Path) -> None:
    """The API server is a stand-in (kube_api.py): what kubectl is told is real, and so is the image."""
    repository = workshop.repository("cluster", ci="gitlab", deploy="kubernetes", registry="s3")
    cluster, kubeconfig = Cluster(set(STAGES)), tmp_path / "kubeconfig"
    with kube_api.serve(cluster, kubeconfig, *STAGES), docker.image_registry(tmp_path) as images:
        variables = {"REGISTRY_URI": (tmp_path / "store").as_uri(), "IMAGE_REGISTRY": images, "DEPLOY": "yes"}
        variables |= {
            "IMAGE_REGISTRY_USER": "ada",
            "IMAGE_REGISTRY_TOKEN": "any",
            "KUBECONFIG": str(kubeconfig),
        }
        pipeline = Pipeline.of(repository, tmp_path / "clone", engine_env, **variables)
        said = pipeline.run("--manual", "production")
        first = live(cluster)[0]
        assert live(cluster) == [first, first] and first
        pod = cluster.find("parcels-production", "pods")[0]["spec"]["containers"][0]
        assert re.fullmatch(rf"{images}/parcels@sha256:[0-9a-f]{{64}}", pod["image"])
        assert f"+    app.kubernetes.io/version: {first}" in re.sub(" +app", "    app", said), said

        change(pipeline.path, QUICK, "max_iter: 1")
        refused = pipeline.run("retrain", "staging", ok=False)
        assert "the gate rejects this candidate" in refused and live(cluster) == [first, first]

        change(pipeline.path, "max_iter: 1", "max_iter: 40")
        pipeline.run("retrain", "staging", "production")
        second = live(cluster)[0]
        assert live(cluster) == [second, second] and second != first
        pipeline.run("rollback")
        assert live(cluster) == [second, first]


@pytest.mark.long
@pytest.mark.base
def test_github_on_kubernetes(workshop: Workshop, engine_env: dict[str, str], tmp_path: Path) -> None:
    repository = workshop.repository("github-cluster", ci="github", deploy="kubernetes", registry="s3")
    cluster, kubeconfig = Cluster(set(STAGES)), tmp_path / "kubeconfig"
    with (
        kube_api.serve(cluster, kubeconfig, *STAGES),
        docker.image_registry(tmp_path) as images,
        GitHub.of(repository, tmp_path / "runs", engine_env) as here,
    ):
        here.secrets = {"KUBE_CONFIG": kubeconfig.read_text()}
        here.vars = {"REGISTRY_URI": (tmp_path / "store").as_uri(), "IMAGE_REGISTRY": images}
        here.vars["DEPLOY"] = "environment"
        run = here.push()
        assert results(run) == DONE, said(run)
        first = run.jobs["retrain"].outputs["version"]
        assert live(cluster) == [first, first]
        assert f"+    app.kubernetes.io/version: {first}" in re.sub(
            " +app", "    app", run.jobs["staging"].summary
        )

        run = here.say(f"/promote {first} to be sure")
        assert results(run) == {"ask": "success", "act": "success"}, said(run)
        assert f"live: {first}" in said(run) and "```diff" in run.jobs["act"].summary


@pytest.mark.long
def test_make_ci_without_any_ci(workshop: Workshop, engine_env: dict[str, str]) -> None:
    repository = workshop.repository("local", ci="none", deploy="docker", registry="mlflow")

    def ci() -> tuple[int, str]:
        words = ["make", "setup", "ci"]
        done = subprocess.run(words, cwd=repository, env=engine_env, capture_output=True, text=True)
        return done.returncode, done.stdout + done.stderr

    code, said = ci()
    assert code == 0, said
    order = ["passed", "no secret is in what git holds", "✓ register", "```mermaid", "✓ build/sbom.json"]
    assert sorted(order, key=said.index) == order
    listed = json.loads((repository / "build/sbom.json").read_text())
    names = {item["name"] for item in listed["components"]}
    assert "onnxruntime" in names and "scikit-learn" not in names, "it lists the image, not the training"
    change(repository, QUICK, "max_iter: 1")
    with_live = subprocess.run(["make", "promote"], cwd=repository, env=engine_env, capture_output=True)
    assert with_live.returncode == 0
    code, said = ci()
    assert code != 0 and "the gate rejects this candidate" in said and "worse than the live model" in said
    assert "build/sbom.json" not in said
