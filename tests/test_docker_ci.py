"""The pipelines of GitHub and GitLab really run: their own commands in fresh clones, a Docker host by ssh.

GitHub's file is run by services/github.py, GitLab's by gitlab-ci-local; the model has few trees.
"""

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import git
from services import docker, github, kube_api, mlflow
from services.github_api import GitHubApi, api
from services.gitlab import Pipeline
from services.kube_cluster import VERSION, Cluster
from services.pipelines import QUICK, Box, Workshop, change

pytestmark = [pytest.mark.docker, pytest.mark.slow]

BY_STRANGERS = '\'; touch hacked; $(touch hacked) `touch hacked` $(shell touch hacked) "quoted"'
DONE = dict.fromkeys(("check", "audit", "retrain", "staging", "production"), "success")


class GitHub:
    """A repository on GitHub whose pushes, issues and comments start its workflows."""

    def __init__(self, repository: Path, box: Box, hub: GitHubApi, folder: Path, tracking: str) -> None:
        self.repository, self.box, self.hub, self.folder = repository, box, hub, folder
        self.env, self.secrets = box.env, {"DEPLOY_KEY": box.host.key}
        self.vars = {"MLFLOW_TRACKING_URI": tracking, "IMAGE_REGISTRY": box.images, "DEPLOY": "environment"}
        self.vars |= {"DEPLOY_HOST": box.host.url, "DEPLOY_KNOWN_HOSTS": box.host.known_hosts}
        self.vars |= {"DEPLOY_FOLDER": str(box.folder / repository.name)}
        self.runs = 0

    def run(self, file: str, event: str, facts: dict[str, Any], actor: str = "ada") -> github.Run:
        self.runs += 1
        folder = self.folder / str(self.runs)
        folder.mkdir(parents=True)
        context = {"event_name": event, "actor": actor, "api_url": self.hub.url}
        workflow = self.repository / ".github/workflows" / file
        run = github.Run(workflow, self.repository, folder, self.env, facts, self.vars, self.secrets)
        run.github = context
        return run.start()

    def push(self, only: tuple[str, ...] = ()) -> github.Run:
        return self.run("lifecycle.yml", "push", {})

    def say(self, text: str, actor: str = "ada") -> github.Run:
        event = {"issue": {"number": 7, "title": "It is slow"}, "comment": {"body": text}}
        return self.run("production.yml", "issue_comment", event, actor)

    def history(self, tracking: str) -> list[dict[str, str]]:
        env = self.env | {"MLFLOW_TRACKING_URI": tracking}
        command = ["uv", "run", "--no-sync", "lifecycle", "history", "--json"]
        done = subprocess.run(command, cwd=self.repository, env=env, capture_output=True, text=True)
        return [move for move in json.loads(done.stdout) if move["alias"] == "production"]


def results(run: github.Run) -> dict[str, str]:
    return {name: job.result for name, job in run.jobs.items() if job.result != "skipped"}


def said(run: github.Run) -> str:
    return "\n".join(f"== {name}: {job.result}\n{job.said}" for name, job in run.jobs.items())


@pytest.fixture
def hub() -> Iterator[GitHubApi]:
    with api(ada="write", eve="read") as hub:
        yield hub


def test_github_from_a_push_to_production_and_back(
    workshop: Workshop, box: Box, hub: GitHubApi, tmp_path: Path
) -> None:
    repository = workshop.repository("github", ci="github", deploy="docker", registry="mlflow")
    with mlflow.server(tmp_path / "mlflow") as tracking:
        host = box.clone(repository, MLFLOW_TRACKING_URI=tracking)
        here = GitHub(repository, box, hub, tmp_path / "runs", tracking)

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
        assert box.serves(box.port) == second and "success" in hub.comments["8"][0]

        run = here.say(f"/rollback complaints {BY_STRANGERS}\n\nsorry")
        assert results(run) == {"ask": "success", "act": "success"}, said(run)
        assert box.serves(box.port) == first and "rollback" in hub.comments["7"][0]
        moves = here.history(tracking)
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


def test_gitlab_on_kubernetes(workshop: Workshop, engine_env: dict[str, str], tmp_path: Path) -> None:
    """The API server is a stand-in (kube_api.py): what kubectl is told is real, and so is the image."""
    repository = workshop.repository("cluster", ci="gitlab", deploy="kubernetes", registry="s3")
    stages = ("parcels-staging", "parcels-production")
    cluster, kubeconfig = Cluster(set(stages)), tmp_path / "kubeconfig"

    def live() -> list[str]:
        found = [cluster.get(stage, "deployments", "parcels") or {} for stage in stages]
        return [item["spec"]["template"]["metadata"]["labels"][VERSION] if item else "" for item in found]

    with kube_api.serve(cluster, kubeconfig, *stages), docker.image_registry(tmp_path) as images:
        variables = {"REGISTRY_URI": (tmp_path / "store").as_uri(), "IMAGE_REGISTRY": images, "DEPLOY": "yes"}
        variables |= {
            "IMAGE_REGISTRY_USER": "ada",
            "IMAGE_REGISTRY_TOKEN": "any",
            "KUBECONFIG": str(kubeconfig),
        }
        pipeline = Pipeline.of(repository, tmp_path / "clone", engine_env, **variables)
        said = pipeline.run("--manual", "production")
        first = live()[0]
        assert live() == [first, first] and first
        pod = cluster.find("parcels-production", "pods")[0]["spec"]["containers"][0]
        assert re.fullmatch(rf"{images}/parcels@sha256:[0-9a-f]{{64}}", pod["image"])
        assert f"+    app.kubernetes.io/version: {first}" in re.sub(" +app", "    app", said), said

        change(pipeline.path, QUICK, "max_iter: 1")
        refused = pipeline.run("retrain", "staging", ok=False)
        assert "the gate rejects this candidate" in refused and live() == [first, first]

        change(pipeline.path, "max_iter: 1", "max_iter: 40")
        pipeline.run("retrain", "staging", "production")
        second = live()[0]
        assert live() == [second, second] and second != first
        pipeline.run("rollback")
        assert live() == [second, first]


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
