"""Somebody brings a file of their own into a rendered project: the whole life runs, and the code is clean.

What is inferred, refused and written is tested in tests/lifecycle/test_adopt_*.py, without rendering.
"""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from conftest import ROOT, Project, git
from sklearn import datasets

sys.path.insert(0, str(ROOT / "tests/lifecycle"))
from adopt_tables import frame, messy

pytestmark = pytest.mark.slow
FILES = [f"src/churn/{name}.py" for name in ("data", "schema", "features", "model")]


def check(project: Project) -> None:
    """Hold the four files to what `make check` asks."""
    for tool in (["ruff", "check"], ["ruff", "format", "--check"], ["pyrefly", "check"]):
        command = [project.venv / "bin" / tool[0], *tool[1:], *FILES]
        env = project.environment()
        done = subprocess.run(command, cwd=project.path, env=env, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr


def cancer(folder: Path) -> tuple[Path, list[str]]:
    path = folder / "breast_cancer.csv"
    datasets.load_breast_cancer(as_frame=True).frame.to_csv(path, index=False)
    return path, ["--target", "target"]


def spreadsheet(folder: Path) -> tuple[Path, list[str]]:
    return messy(folder / "messy.csv"), ["--target", "minutes"]


def typed(folder: Path) -> tuple[Path, list[str]]:
    data = frame(1200).assign(
        sold=pd.date_range("2024-01-01", periods=1200, freq="7h", tz="Europe/Berlin"),
        lift=pd.array([True, False, None] * 400, dtype="boolean"),
        floors=pd.array([1, None, 3, 4] * 300, dtype="Int64"),
        heating=pd.Categorical(["gas", None, "oil", " oil"] * 300),
    )
    data.to_parquet(folder / "flats.parquet")
    return folder / "flats.parquet", ["--target", "price", "--time", "sold"]


@pytest.mark.parametrize(
    "bring", [typed, *(pytest.param(bring, marks=pytest.mark.long) for bring in (cancer, spreadsheet))]
)
def test_a_file_of_your_own_becomes_a_version_and_clean_code(
    make_project: Callable[..., Project], tmp_path: Path, bring: Callable[[Path], tuple[Path, list[str]]]
) -> None:
    project = make_project()
    file, words = bring(tmp_path)
    done = project.lifecycle("adopt", str(file), *words)
    assert f"{file} is copied to data/{file.name}" in done.stdout, "the path of the copy is short"
    assert "make retrain" in done.stdout
    check(project)
    project.train()
    assert project.lifecycle("versions").stdout.count("staging") == 1


def test_a_version_of_your_own_data_is_watched(make_project: Callable[..., Project], tmp_path: Path) -> None:
    project = make_project()
    file, words = cancer(tmp_path)
    project.lifecycle("adopt", str(file), *words)
    project.train()
    project.lifecycle("promote", "--why", "first")
    drift = project.lifecycle("drift", "artifacts/holdout.parquet", ok=False)
    assert drift.returncode == 3, drift.stdout + drift.stderr


def test_what_cannot_be_adopted_changes_nothing(make_project: Callable[..., Project], tmp_path: Path) -> None:
    """The template's own files count as unedited; an edit is named by its short path."""
    project = make_project()
    project.edit("src/churn/features.py", "return inputs", "return {**inputs}")
    git(project.path, "commit", "-qam", "Mine")
    frame().assign(id=range(300)).to_csv(tmp_path / "flats.csv", index=False)
    done = project.lifecycle("adopt", str(tmp_path / "flats.csv"), "--target", "price", ok=False)
    assert done.returncode == 4 and "you have edited src/churn/features.py: --force" in done.stderr
    assert "--drop id --force" in done.stderr and "Traceback" not in done.stderr
    assert git(project.path, "status", "--short", "src", "data", "params.yaml") == "", "nothing is written"
