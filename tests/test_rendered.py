"""What a rendered project alone can show: Evidently in an environment of its own."""

import shutil
from pathlib import Path

import pytest
from conftest import Project

pytestmark = pytest.mark.slow


@pytest.mark.long
def test_evidently_makes_its_page_in_an_environment_of_its_own(trained_copy: Project, tmp_path: Path) -> None:
    page = tmp_path / "e.html"
    trained_copy.lifecycle("evidently", "data/recent.parquet", "--html", str(page))
    text = page.read_text()
    assert "distance_km" in text and "Dataset Drift is detected" in text
    wrong = trained_copy.lifecycle("evidently", "README.md", ok=False)
    assert wrong.returncode == 1 and "error: README.md" in wrong.stderr
    assert "a Parquet file with the columns distance_km" in wrong.stderr
    shutil.rmtree(trained_copy.path / "artifacts/candidate")
    assert "next: make retrain" in trained_copy.lifecycle("evidently", "data/recent.parquet", ok=False).stderr
