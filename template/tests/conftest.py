"""A small candidate, trained on the newest rows of your own data in a folder of its own."""

import os
import shutil
from pathlib import Path

import pandas as pd
import pytest

from lifecycle import columns, project
from lifecycle.project import CANDIDATE, RAW
from lifecycle.serving.predictor import Predictor
from lifecycle.steps import evaluate, ingest, train, validate

ROWS = 2000
# A gate that lets any model through: these tests are about the code, `make retrain` is about the model.
OPEN_GATE = {"MARGIN_OVER_BASELINE": "-1000", "MAX_LATENCY_MS": "10000", "PARITY": "0.01"}


@pytest.fixture(scope="session")
def rows() -> pd.DataFrame:
    """Return rows of your data, the newest where schema.py names a time."""
    time = project.load("schema").TIME
    frame = project.load("data").load()
    frame = frame.sort_values(time) if time else frame
    return frame.tail(ROWS).reset_index(drop=True)


@pytest.fixture(scope="session")
def trained(rows: pd.DataFrame, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which every step but register has run on those rows."""
    folder, home = tmp_path_factory.mktemp("trained"), Path.cwd()
    shutil.copy("params.yaml", folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        without_services(patch)
        for key, value in OPEN_GATE.items():
            patch.setenv(f"LIFECYCLE_GATE__{key}", value)
        ingest.write_parquet(rows, RAW)
        for step in (validate, train, evaluate):
            step.run()
    assert Path.cwd() == home
    return folder


def without_services(patch: pytest.MonkeyPatch) -> None:
    """Keep the tests off the registry and the settings of whoever runs them."""
    for name in list(os.environ):
        if name.startswith(("LIFECYCLE_", "MLFLOW_TRACKING_", "REGISTRY_", "API_KEY")):
            patch.delenv(name)


@pytest.fixture
def work(trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of that folder, as the current one: do anything with it."""
    shutil.copytree(trained, tmp_path / "work")
    monkeypatch.chdir(tmp_path / "work")
    without_services(monkeypatch)
    return tmp_path / "work"


@pytest.fixture
def predictor(work: Path) -> Predictor:
    return Predictor(CANDIDATE)


@pytest.fixture
def schema() -> columns.Schema:
    return columns.describe(project.load("schema"))
