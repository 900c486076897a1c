"""make update: on a branch, refused when it could lose something, loud about what it cannot keep."""

import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import updating
from conftest import ROOT, Project, clean_environment, git, render
from updating import commit

pytestmark = pytest.mark.slow
Make = Callable[..., Project]


@pytest.fixture
def project(make_project: Make) -> Project:
    """A committed project, clean."""
    made = make_project()
    (made.path / ".gitignore").write_text((made.path / ".gitignore").read_text() + "uv.lock\n")
    commit(made.path)
    return made


def branches(project: Project) -> list[str]:
    return git(project.path, "branch", "--format=%(refname:short)").split()


def refused(project: Project, *words: str, says: str, next_step: str) -> None:
    """Assert that the update stops with that text, and branch and files are as before."""
    before = updating.tree(project.path), git(project.path, "status", "--porcelain")
    done = project.lifecycle("update", *words, ok=False)
    assert done.returncode == 1 and "Traceback" not in done.stderr, done.stderr
    assert says in done.stderr and next_step in done.stderr
    found = updating.tree(project.path), git(project.path, "status", "--porcelain")
    litter = {name for name in found[0].keys() - before[0].keys() if "__pycache__" in name}
    assert ({name: what for name, what in found[0].items() if name not in litter}, found[1]) == before
    assert branches(project) in (["main"], [])


def test_what_is_not_committed_is_not_risked(project: Project) -> None:
    (project.path / "notes.md").write_text("# Mine\n")
    refused(project, says="not committed:\n?? notes.md", next_step="git stash -u")


def test_without_git_or_a_commit_or_a_branch(project: Project) -> None:
    git(project.path, "checkout", "-q", "--detach")
    done = project.lifecycle("update", ok=False)
    assert done.returncode == 1 and "needs git, a commit and a branch" in done.stderr
    shutil.rmtree(project.path / ".git")
    refused_outside = project.lifecycle("update", ok=False)
    assert refused_outside.returncode == 1 and "git init" in refused_outside.stderr


def test_without_uv(project: Project) -> None:
    project.env["UV"] = "/nowhere/uv"
    refused(project, says="UV names /nowhere/uv, which is not here", next_step="make setup")


def test_elsewhere_than_in_a_project(project: Project) -> None:
    (project.path / ".copier-answers.yml").unlink()
    commit(project.path)
    refused(project, says=".copier-answers.yml is not here", next_step="root folder")


@pytest.mark.parametrize(
    ("answer", "says", "next_step"),
    [
        ("registy=s3", "registy=s3: no such question", "registry"),
        ("registry", "registry: no such question", "registry"),
        ("task=classification", "task stands in files of your own", "another project"),
        ("registry=ftp", "Invalid choice", "run the command again"),
    ],
)
def test_an_answer_that_cannot_be_changed_to(
    project: Project, answer: str, says: str, next_step: str
) -> None:
    refused(project, answer, says=says, next_step=next_step)


def test_a_release_that_does_not_exist(project: Project) -> None:
    refused(project, "--to", "v0.0.7", says="Copier says: ", next_step="nothing was changed")


def test_nothing_new_leaves_no_branch(project: Project) -> None:
    assert "there is nothing new" in project.lifecycle("update").stdout
    assert branches(project) == ["main"] and git(project.path, "status", "--porcelain") == ""


def test_conflicts_and_dropped_edits_are_named_and_can_be_taken_back(project: Project) -> None:
    """From docker to lambda, after edits of a line that changes and of scripts that lambda does not have."""
    project.edit("Makefile", "image: #> Build the image of staging", "image: #> Build our image of staging")
    project.edit("deploy/docker/status.sh", "#!/bin/sh\n", "#!/bin/sh\n# Mine\n")
    commit(project.path)
    before = updating.tree(project.path)
    done = project.lifecycle("update", "deploy=lambda", ok=False)
    head = git(project.path, "rev-parse", "--short", "HEAD").strip()
    assert done.returncode == 1 and "files in conflict: 1" in done.stderr
    assert "deploy: docker → lambda" in done.stdout
    assert f"git show {head}:deploy/docker/status.sh" in done.stdout
    assert "deploy/docker/release.sh" not in done.stdout, "what the user did not edit is not named"
    assert "in conflict, 1 place: Makefile" in done.stdout
    assert "# Mine" in git(project.path, "show", f"{head}:deploy/docker/status.sh")
    (back,) = re.findall(r"to go back: +(.*)", done.stdout)
    subprocess.run(back, shell=True, cwd=project.path, capture_output=True, check=True)
    after = {name: what for name, what in updating.tree(project.path).items() if "__pycache__" not in name}
    assert after == before and branches(project) == ["main"]


def test_make_update_brings_a_release_and_checks_it(template: Path, tmp_path: Path) -> None:
    """The whole of it, as a person types it: its own environment, a release, then one that breaks a check."""
    releases = tmp_path / "template"
    shutil.copytree(template, releases)
    path = render(releases, tmp_path / "churn")
    env = clean_environment()

    def make(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(["make", *words], cwd=path, env=env, capture_output=True, text=True)

    assert make("setup").returncode == 0
    commit(path, "Locked")
    release(releases, "v99.1.0", "docs/new.md", "# New\n")
    release(releases, "v99.2.0", "tests/test_new.py", "import os\n")
    done = make("update", "TO=v99.1.0")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "v99.0.0 → v99.1.0" in done.stdout and " passed" in done.stdout and "to keep it:" in done.stdout
    assert git(path, "branch", "--show-current").startswith("update-")
    assert git(path, "status", "--porcelain").split() == ["M", ".copier-answers.yml", "??", "docs/new.md"]
    commit(path, "v99.1.0")
    done = make("update")
    assert done.returncode == 2 and "make check fails after the update" in done.stderr
    assert "F401" in done.stdout and (path / "tests/test_new.py").exists()


def release(repository: Path, tag: str, name: str, text: str) -> None:
    (repository / "template" / name).write_text(text)
    commit(repository, tag)
    git(repository, "tag", tag)


def test_the_copier_that_updates_is_the_one_that_is_tested() -> None:
    pinned = re.search(r"^copier==(\S+)", (ROOT / "requirements/demo.txt").read_text(), re.MULTILINE)
    update = (ROOT / "template/vendor/lifecycle/src/lifecycle/update.py").read_text()
    assert pinned and f'COPIER = "{pinned[1]}"\n' in update
