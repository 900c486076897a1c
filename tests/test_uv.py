"""uv is what UV names, else the project's own, else the machine's; without any, make setup is named."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT, render

# What the scripts call besides uv; a machine's own uv is not to be found.
SHELL = ("awk", "basename", "cat", "dirname", "env", "make", "mkdir", "mktemp", "rm", "sh", "timeout")
PROGRAM = """
import subprocess, sys
from lifecycle import errors, tools
from lifecycle.project import Project
try:
    subprocess.run(tools.uv(Project.find()))
except errors.LifecycleError as error:
    sys.exit(f"{error}; next: {error.next_step}")
"""
COMMANDS = {
    "lifecycle": [sys.executable, "-c", PROGRAM],
    "Makefile": ["make", "report"],
    "release.sh": ["deploy/lambda/release.sh"],
    "rollback.sh": ["deploy/lambda/rollback.sh"],
    "status.sh": ["deploy/lambda/status.sh"],
    "check.sh": ["deploy/kubernetes/check.sh"],
    "prefect.sh": ["orchestration/prefect.sh", "version"],
    "airflow.sh": ["orchestration/airflow.sh", "version"],
}


@pytest.fixture(scope="module")
def whole(template: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with the scripts of all answers, in a folder whose name has a space."""
    path = render(template, tmp_path_factory.mktemp("uv") / "my churn", project_name="churn")
    for part in ("deploy", "orchestration"):
        shutil.copytree(ROOT / "template" / part, path / part, dirs_exist_ok=True)
    (path / "deploy/kubernetes/jobs").mkdir(exist_ok=True)
    return path


def put(path: Path, says: str) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\necho {says}\n")
    path.chmod(0o755)
    return str(path)


@pytest.mark.parametrize("places", [["named", "own", "machine"], ["own", "machine"], ["machine"], []])
@pytest.mark.parametrize("command", COMMANDS.values(), ids=COMMANDS)
def test_uv_is_found_in_the_same_order_by_all(
    whole: Path, tmp_path: Path, command: list[str], places: list[str]
) -> None:
    project = tmp_path / whole.name
    shutil.copytree(whole, project)
    for tool in SHELL:
        (tmp_path / "bin").mkdir(exist_ok=True)
        (tmp_path / "bin" / tool).symlink_to(shutil.which(tool) or pytest.fail(f"no {tool}"))
    put(tmp_path / "bin/kubectl", "manifest")
    env = {"PATH": str(tmp_path / "bin"), "PYTHONPATH": "vendor/lifecycle/src"}
    if "named" in places:
        env["UV"] = put(tmp_path / "other folder/uv", "named")
    if "own" in places:
        put(project / ".tools/bin/uv", "own")
    if "machine" in places:
        put(tmp_path / "bin/uv", "machine")
    done = subprocess.run(command, cwd=project, env=env, capture_output=True, text=True)
    if places:
        assert done.returncode == 0 and set(done.stdout.split()) == {places[0]}, done.stdout + done.stderr
    elif command[0] == "make":
        dry = ["make", "--dry-run", "setup"]
        brings = subprocess.run(dry, cwd=project, env=env, capture_output=True, text=True).stdout
        assert ".tools/bin/pip install" in brings and f'"{project}/.tools/bin/uv" sync' in brings
    else:
        assert done.returncode and "make setup" in done.stderr, done.stderr


def test_a_uv_that_is_named_and_not_there_is_refused(whole: Path) -> None:
    env = {"UV": "/nowhere/uv", "PYTHONPATH": "vendor/lifecycle/src"}
    done = subprocess.run(COMMANDS["lifecycle"], cwd=whole, env=env, capture_output=True, text=True)
    assert done.stderr == "UV names /nowhere/uv, which is not here; next: unset UV, then: make setup\n"
