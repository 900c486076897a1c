"""Runs tests/rendered inside rendered projects: what lies too deep for a user's own test suite."""

import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import ROOT, Project, clean_environment
from updating import Answers, choices, pairwise

OFFERED = {
    name: given for name, given in choices((ROOT / "copier.yml").read_text()).items() if name != "ci"
}  # which changes no Python

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("task", ["regression", "classification"])
def test_the_deeper_tests_pass(make_project: Callable[..., Project], task: str) -> None:
    project = make_project(task=task)
    shutil.copytree(ROOT / "tests/rendered", project.path / "tests/deeper")
    done = project.python("-m", "pytest", "tests/deeper")
    print(done.stdout)
    assert done.returncode == 0, done.stdout + done.stderr
    assert int(re.findall(r"(\d+) passed", done.stdout)[0]) >= 15


@pytest.fixture(scope="module")
def with_boto3(environment: Path) -> None:
    """What S3 and Lambda need besides."""
    words = ["uv", "pip", "install", "--quiet", "--python", str(environment), "boto3"]
    subprocess.run(words, env=clean_environment(), check=True)


@pytest.mark.usefixtures("with_boto3")
@pytest.mark.parametrize("answers", pairwise(OFFERED), ids=lambda answers: "-".join(answers.values()))
def test_types_hold_whatever_the_answers(make_project: Callable[..., Project], answers: Answers) -> None:
    """Each pair of answers stands together in one of these projects, whose modules are then all there are."""
    done = make_project(**answers).python("-m", "pyrefly", "check")
    assert done.returncode == 0, done.stdout + done.stderr
