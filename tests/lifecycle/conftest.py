"""A small project in a temporary folder, trained and in production, for the library's tests in this process.

Nothing is patched: its registry is a folder, and its package is the template's src/, under a name of its own.
"""

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from lifecycle.model.predictor import Predictor
from lifecycle.project import VARIABLE, Project
from lifecycle.registry.base import PRODUCTION, STAGING, open_registry
from projects import STEPS, copy_project, make_project, run

OURS = (
    "LIFECYCLE_",
    "MLFLOW_",
    "REGISTRY_",
    "STATE_",
    "WINDOWS_",
    "API_KEY",
    "MODEL_DIR",
    "ANOMALY_",
    "GIT_COMMIT",
)


def _without_environment(patch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith(OURS)]:
        patch.delenv(name)


def _trained(root: Path, task: str) -> Project:
    """Make a project and bring its model into production."""
    with pytest.MonkeyPatch.context() as patch:
        _without_environment(patch)
        project = make_project(root, task)
        run(project, *STEPS)
        open_registry(project).promote(STAGING, PRODUCTION, "Ada", "first release")
    return project


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A regression in production; not to be changed."""
    return _trained(tmp_path_factory.mktemp("regression"), "regression")


@pytest.fixture(scope="session")
def trained_classifier(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A classification in production; not to be changed."""
    return _trained(tmp_path_factory.mktemp("classification"), "classification")


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Keep each test off the settings, registry and keys of whoever runs it, and sys.path as it was."""
    _without_environment(monkeypatch)
    before = sys.path.copy()
    yield
    sys.path[:] = before


@pytest.fixture
def project(trained: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    """A regression in production: do anything with it. Project.find() finds it."""
    monkeypatch.setenv(VARIABLE, str(tmp_path / "project"))
    return copy_project(trained, tmp_path / "project")


@pytest.fixture
def classifier_project(
    trained_classifier: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Project:
    """A classification in production: do anything with it. Project.find() finds it."""
    monkeypatch.setenv(VARIABLE, str(tmp_path / "classifier"))
    return copy_project(trained_classifier, tmp_path / "classifier")


@pytest.fixture
def predictor(project: Project) -> Predictor:
    """The model of `project`, from its candidate's folder."""
    return Predictor(project.candidate, project.features.build)
