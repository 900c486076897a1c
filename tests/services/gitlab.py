"""Runs a GitLab pipeline on this machine by gitlab-ci-local, every job in a shell and a copy of its own."""

import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

import yaml
from conftest import ROOT, git

TOOL = ROOT / ".cache/npm/node_modules/.bin/gitlab-ci-local"
COLOURS = re.compile(r"\x1b\[[0-9;]*m")


@dataclass
class Pipeline:
    """A clone of a project, and the variables that its project page would have."""

    path: Path
    env: dict[str, str]
    variables: dict[str, str]

    @classmethod
    def of(cls, repository: Path, path: Path, env: dict[str, str], **variables: str) -> "Pipeline":
        if not TOOL.exists():
            raise RuntimeError("gitlab-ci-local is missing; install it with: sh scripts/npm-tools.sh")
        subprocess.run(["git", "clone", "--quiet", str(repository), str(path)], check=True)
        git(path, "remote", "set-url", "origin", "git@gitlab.example.com:acme/parcels.git")
        # A runner whose executor is the shell leaves out images and services; this tool has to be told so.
        file = yaml.safe_load((path / ".gitlab-ci.yml").read_text())
        del file["default"]["image"]
        file["retrain"].pop("services", None)
        file["retrain"]["variables"].pop("DOCKER_HOST", None)
        (path / ".gitlab-ci-local").mkdir()
        (path / ".gitlab-ci-local/shell.yml").write_text(yaml.safe_dump(file, sort_keys=False, width=1000))
        (path / ".git/info/exclude").write_text(".gitlab-ci-local/\n")
        # The machine's cache instead of the pipeline's own, which would be copied into each job and out.
        return cls(path, env, variables | {"UV_CACHE_DIR": env["UV_CACHE_DIR"]})

    def run(self, *words: str, ok: bool = True, **more: str) -> str:
        """Run the pipeline, or with --needs only some jobs, and return what was said."""
        command = [
            str(TOOL),
            "--file",
            ".gitlab-ci-local/shell.yml",
            "--shell-isolation",
            "--concurrency",
            "1",
        ]
        for name, text in (self.variables | more).items():
            command += ["--variable", f"{name}={text}"]
        done = subprocess.run(
            [*command, *words],
            cwd=self.path,
            env=self.env,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
        )
        said = COLOURS.sub("", done.stdout + done.stderr)
        assert (done.returncode == 0) == ok, f"{words} → {done.returncode}\n{said}"
        return said
