"""Runs tests/rendered inside rendered projects: what lies too deep for a user's own test suite."""

import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import ROOT, Project, clean_environment
from tools import UV
from updating import Answers, choices, pairwise

OFFERED = {
    name: given for name, given in choices((ROOT / "copier.yml").read_text()).items() if name != "ci"
}  # which changes no Python

pytestmark = pytest.mark.slow


@pytest.mark.parametrize(
    ("task", "words", "least"),
    [
        ("regression", ["tests/deeper", "--ignore=tests/deeper/test_models.py"], 15),
        pytest.param("regression", ["tests/deeper/test_models.py"], 8, marks=pytest.mark.base),
        pytest.param("classification", ["tests/deeper/test_models.py"], 8, marks=pytest.mark.base),
    ],
)
def test_the_deeper_tests_pass(
    make_project: Callable[..., Project], task: str, words: list[str], least: int
) -> None:
    """All of them once; those of models, whose code the task decides, for each."""
    project = make_project(task=task)
    shutil.copytree(ROOT / "tests/rendered", project.path / "tests/deeper")
    done = project.python("-m", "pytest", *words)
    print(done.stdout)
    assert done.returncode == 0, done.stdout + done.stderr
    assert int(re.findall(r"(\d+) passed", done.stdout)[0]) >= least


def test_evidently_makes_its_page_in_an_environment_of_its_own(trained_copy: Project, tmp_path: Path) -> None:
    def report(**answers: str) -> subprocess.CompletedProcess[str]:
        words = ["make", "drift-report", *(f"{name}={value}" for name, value in answers.items())]
        env = trained_copy.verbs(tmp_path / "bin")
        return subprocess.run(words, cwd=trained_copy.path, env=env, capture_output=True, text=True)

    done = report(FILE="data/recent.parquet", HTML="artifacts/e.html")
    assert done.returncode == 0, done.stderr
    page = (trained_copy.path / "artifacts/e.html").read_text()
    assert "distance_km" in page and "Dataset Drift is detected" in page
    assert "FILE is not set" in report().stdout
    wrong = report(FILE="README.md").stderr
    assert "error: README.md" in wrong and "a Parquet file with the columns distance_km" in wrong
    shutil.rmtree(trained_copy.path / "artifacts/candidate")
    assert "next: make retrain" in report(FILE="data/recent.parquet").stderr


@pytest.fixture(scope="module")
def with_boto3(environment: Path) -> None:
    """What S3 and Lambda need besides."""
    words = [UV, "pip", "install", "--quiet", "--python", str(environment), "boto3"]
    subprocess.run(words, env=clean_environment(), check=True)


@pytest.mark.usefixtures("with_boto3")
@pytest.mark.parametrize("answers", pairwise(OFFERED), ids=lambda answers: "-".join(answers.values()))
def test_types_hold_whatever_the_answers(make_project: Callable[..., Project], answers: Answers) -> None:
    """Each pair of answers stands together in one of these projects, whose modules are then all there are."""
    done = make_project(**answers).python("-m", "pyrefly", "check")
    assert done.returncode == 0, done.stdout + done.stderr
