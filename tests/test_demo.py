"""`make demo` on data that nobody here made: a set that scikit-learn carries, written to CSV."""

import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT, clean_environment
from sklearn import datasets

pytestmark = pytest.mark.slow


def test_the_demo_runs_on_your_own_file(tmp_path: Path) -> None:
    data = tmp_path / "breast_cancer.csv"
    datasets.load_breast_cancer(as_frame=True).frame.to_csv(data, index=False)
    command = [sys.executable, "-m", "lean_mlops.demo", "--into", str(tmp_path), "--data", str(data)]
    done = subprocess.run(
        [*command, "--target", "target"],
        cwd=ROOT,
        env=clean_environment(PYTHONPATH=str(ROOT / "src")),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    for said in ("the gate rejects this candidate", "insufficient data:", "rollback", "Done in"):
        assert said in done.stdout, done.stdout


def test_data_without_a_target_is_refused(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "lean_mlops.demo", "--data", "x.csv"]
    done = subprocess.run(
        command, env=clean_environment(PYTHONPATH=str(ROOT / "src")), capture_output=True, text=True
    )
    assert done.returncode == 2
    assert "DATA and TARGET go together: make demo DATA=my.csv TARGET=column" in done.stderr
