"""Opens MLflow as the registry: the server at MLFLOW_TRACKING_URI, else mlflow.db in the project."""

import os

from ..project import Project
from .base import Registry

SQLITE = "sqlite:///"
DEFAULTS = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    # A server that hangs or fails is given up after 20 seconds; MLflow's own limits add up to minutes.
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "5",
    "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "1",
}


def open_registry(project: Project) -> Registry:
    """Open the registry of a project. A relative sqlite:/// address is relative to the project's folder."""
    for key, value in DEFAULTS.items():
        os.environ.setdefault(key, value)
    from .mlflow_aliases import MlflowRegistry  # it imports MLflow, which reads these when it is imported

    uri = os.environ.get("MLFLOW_TRACKING_URI") or f"{SQLITE}mlflow.db"
    if not uri.startswith(SQLITE):
        return MlflowRegistry(project, uri)
    database = (project.root / uri.removeprefix(SQLITE)).resolve()
    return MlflowRegistry(project, f"{SQLITE}{database.as_posix()}", database.parent / "mlartifacts")
