"""What every registry promises, on a folder and on MLflow's embedded database."""

import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parents[1]))
from registry import support
from registry.contract import *  # noqa: F403

versions, empty_database = support.versions, support.empty_database
own_environment = support.own_environment


@pytest.fixture(params=[support.FOLDER, support.SQLITE])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> support.Place:
    """An empty registry."""
    is_mlflow = request.param == support.SQLITE
    database = request.getfixturevalue("empty_database") if is_mlflow else None
    return support.make_place(request.param, tmp_path / "project", database)
