"""The pipelines of GitHub and GitLab, really run: their own commands, in fresh clones, on a Docker host reached by ssh."""

import json
import re
import subprocess
from pathlib import Path

import pytest
from services import github, mlflow
from services.github_api import api
from services.pipelines import Box, Workshop, change

pytest_plugins = ["services.pipelines"]
pytestmark = [pytest.mark.docker, pytest.mark.slow]

STRANGE = 'worse\'; touch /tmp/hacked; $(touch /tmp/hacked) `touch /tmp/hacked` "quoted"'


class GitHub:
    """The repository on GitHub: pushes, issues and comments start its workflows."""

    def __init__(
        self, repository: Path, folder: Path, env: dict[str, str], **settings: dict[str, str]
    ) -> None:
        self.repository, self.folder, self.env, self.settings = repository, folder, env, settings

    def run(self, file: str, event: dict, name: str = "push", **github_context: str) -> github.Run:
        workflow = self.repository / ".github/workflows" / file
        number = str(len(list(self.folder.glob("*"))))
        context = {"event_name": name} | github_context
        started = github.Run(
            workflow, self.repository, self.folder / number, self.env, event, github=context, **self.settings
        )
        (self.folder / number).mkdir()
        return started.start()


def results(run: github.Run) -> dict[str, str]:
    return {name: job.result for name, job in run.jobs.items()}


def test_github_from_a_push_to_production_and_back(
    workshop: Workshop, box: Box, engine_env: dict[str, str], tmp_path: Path
) -> None:
    repository = workshop.repository("github", ci="github", deploy="docker", registry="mlflow")
    with mlflow.server(tmp_path / "mlflow") as tracking, api(ada="admin", eve="read") as hub:
        box.clone(repository, MLFLOW_TRACKING_URI=tracking)
        variables = {"MLFLOW_TRACKING_URI": tracking, "IMAGE_REGISTRY": box.images, "DEPLOY": "environment"}
        variables |= {"DEPLOY_HOST": box.host.url, "DEPLOY_KNOWN_HOSTS": box.host.known_hosts}
        variables |= {"DEPLOY_FOLDER": str(box.folder / "github")}
        here = GitHub(
            repository, tmp_path / "runs", engine_env, vars=variables, secrets={"DEPLOY_KEY": box.host.key}
        )
        here.folder.mkdir()

        run = here.run("lifecycle.yml", {})
        shown = "\n".join(job.said for job in run.jobs.values())
        done = {"check": "success", "audit": "success", "retrain": "success", "staging": "success"}
        assert results(run) == done | {"production": "success", "drift": "skipped"}, shown
