"""A small model, trained on the newest rows of your own data in a folder of its own."""

import os
import shutil
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
from lifecycle.data.schema import Schema, describe
from lifecycle.files import write_parquet
from lifecycle.model.predictor import Predictor
from lifecycle.project import VARIABLE, Project
from lifecycle.training import dataset

ROWS = 2000
# A gate that lets any model through: these tests are about the code, `make retrain` is about the model.
OPEN_GATE = {"MARGIN_OVER_BASELINE": -1000, "COMPARE_WITH_LIVE": 0, "PARITY": 0.01, "MAX_LATENCY_MS": 10_000}


@pytest.fixture(scope="session")
def project() -> Project:
    return Project.read(Path(__file__).parents[1])


@pytest.fixture(scope="session")
def rows(project: Project) -> pd.DataFrame:
    """Return rows of your data, the newest where schema.py names a time."""
    time, frame = project.load("schema").TIME, dataset.load(project.load("data"), project.root)
    return (frame.sort_values(time) if time else frame).tail(ROWS).reset_index(drop=True)


@pytest.fixture
def schema(project: Project) -> Schema:
    return describe(project.load("schema"))


@pytest.fixture(scope="session")
def small(project: Project, rows: pd.DataFrame, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A folder in which your pipeline.py has trained on those rows and passed the gate."""
    small = replace(project, root=tmp_path_factory.mktemp("small"))
    for name in ("params.yaml", "pyproject.toml"):
        shutil.copy(project.root / name, small.root)
    write_parquet(rows, small.raw)
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith("LIFECYCLE_")]:
            patch.delenv(name)
        for rule, value in OPEN_GATE.items():
            patch.setenv(f"LIFECYCLE_GATE__{rule}", str(value))
        for step in ("validate", "train", "evaluate"):
            getattr(project.load("pipeline"), step)(small)
    return small


@pytest.fixture
def predictor(small: Project, monkeypatch: pytest.MonkeyPatch) -> Predictor:
    """The small model, which a server that is started in this test serves, too."""
    monkeypatch.delenv("API_KEY", raising=False)
    monkeypatch.delenv("WINDOWS_DIR", raising=False)
    monkeypatch.setenv(VARIABLE, str(small.root))
    monkeypatch.setenv("MODEL_DIR", str(small.candidate))
    return Predictor(small.candidate, small.features.build)
