"""What reproduces a training: the commit, the data, the settings, the lock of the environment."""

import hashlib
import json
import os
import subprocess
import tomllib
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import pandas as pd

from ..errors import LIBRARY, LifecycleError
from ..files import to_json, write_text
from ..project import Project
from ..settings import Settings
from .dataset import TrainingSet


def git_commit(root: Path) -> str:
    """Return the commit, with "-dirty" when files differ from it; "" outside a repository."""
    if named := os.environ.get("GIT_COMMIT"):  # an image, where git is not: it is set when that is built
        return named
    command = ["git", "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    return subprocess.run(command, cwd=root, capture_output=True, text=True, check=False).stdout.strip()


def data_hash(frame: pd.DataFrame) -> str:
    """Return the SHA-256 of the rows' values, in hexadecimal; the index does not count."""
    hashes = pd.util.hash_pandas_object(frame, index=False).to_numpy()
    return hashlib.sha256(hashes.tobytes()).hexdigest()


def lock_hash(project: Project) -> str:
    """Return the SHA-256 of uv.lock without this library; "" where there is no lock."""
    if not (lock := project.root / "uv.lock").is_file():
        return ""
    locked = tomllib.loads(lock.read_text(encoding="utf-8"))
    return hashlib.sha256(to_json(_without_library(locked)).encode()).hexdigest()


def _without_library(value: Any) -> Any:
    """Skip the library's own entry, and where the project's entry says which commit of it to take."""
    if isinstance(value, dict):
        return None if value.get("name") == LIBRARY else {k: _without_library(v) for k, v in value.items()}
    if isinstance(value, list):
        return [kept for item in value if (kept := _without_library(item)) is not None]
    return value


def library_version() -> str:
    """Return the version of this library: of the installed package, else of the pyproject.toml beside it."""
    try:
        return metadata.version(LIBRARY)
    except metadata.PackageNotFoundError:
        file = Path(__file__).parents[3] / "pyproject.toml"
        return tomllib.loads(file.read_text(encoding="utf-8"))["project"]["version"]


def write_environment(project: Project) -> None:
    """Write artifacts/environment.json: a change of it retrains, a comment in the library's code does not."""
    facts = {"library": library_version(), "lock_hash": lock_hash(project)}
    write_text(project.artifacts / "environment.json", to_json(facts))


def write(project: Project, training: TrainingSet, params: Settings) -> None:
    """Write artifacts/training.json, which `evaluate` reads and seals into the manifest."""
    facts = {
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "git_commit": git_commit(project.root),
        "data_hash": data_hash(training.rows),
        "lock_hash": lock_hash(project),
        "params": json.loads(to_json(params.model_dump())),
        "rows": len(training.rows),
        "naive": training.naive,
    }
    write_text(project.training, to_json(facts))


def read(project: Project) -> dict[str, Any]:
    """Read what `write` has written. Raises LifecycleError where the step train has not run."""
    if not project.training.is_file():
        raise LifecycleError(f"{project.training} is not here", "run the steps before this one: make retrain")
    return json.loads(project.training.read_text(encoding="utf-8"))
