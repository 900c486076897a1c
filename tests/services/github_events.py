"""A repository on GitHub whose pushes, issues and comments start its workflows, run by github.py."""

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from services.github import Run
from services.github_api import GitHubApi, api
from tools import UV


class GitHub:
    """vars, secrets: of the repository; role: its keys in AWS; hub: its API. env: in which each job runs."""

    def __init__(self, repository: Path, folder: Path, env: dict[str, str], hub: GitHubApi) -> None:
        self.repository, self.folder, self.env, self.hub = repository, folder, env, hub
        self.vars: dict[str, str] = {}
        self.secrets: dict[str, str] = {}
        self.role: dict[str, str] = {}
        self.runs = 0

    @classmethod
    @contextmanager
    def of(cls, repository: Path, folder: Path, env: dict[str, str]) -> "Iterator[GitHub]":
        """Serve its API while the block runs: Ada may write to the repository, Eve may not."""
        with api(ada="write", eve="read") as hub:
            yield cls(repository, folder, env, hub)

    def run(self, file: str, event: str, facts: dict[str, Any], actor: str = "ada") -> Run:
        self.runs += 1
        folder = self.folder / str(self.runs)
        folder.mkdir(parents=True)
        workflow = self.repository / ".github/workflows" / file
        run = Run(workflow, self.repository, folder, self.env, facts, self.vars, self.secrets, self.role)
        run.github = {"event_name": event, "actor": actor, "api_url": self.hub.url}
        return run.start()

    def push(self) -> Run:
        return self.run("lifecycle.yml", "push", {})

    def say(self, text: str, actor: str = "ada") -> Run:
        event = {"issue": {"number": 7, "title": "It is slow"}, "comment": {"body": text}}
        return self.run("production.yml", "issue_comment", event, actor)

    def history(self, **registry: str) -> list[dict[str, str]]:
        """Return production's moves."""
        command = [UV, "run", "--no-sync", "lifecycle", "history", "--json"]
        done = subprocess.run(
            command, cwd=self.repository, env=self.env | registry, capture_output=True, text=True
        )
        return [move for move in json.loads(done.stdout) if move["alias"] == "production"]


def results(run: Run) -> dict[str, str]:
    """Return how each job ended that was not skipped."""
    return {name: job.result for name, job in run.jobs.items() if job.result != "skipped"}


def said(run: Run) -> str:
    return "\n".join(f"== {name}: {job.result}\n{job.said}" for name, job in run.jobs.items())
