"""MLflow as the registry: a server named by MLFLOW_TRACKING_URI, or mlflow.db and mlartifacts/ right here.

A project's folder may be moved or copied: mlflow.db follows.
"""

import os
import sqlite3
from contextlib import closing
from pathlib import Path

from .contract import Registry

EMBEDDED, SQLITE = Path("mlflow.db"), "sqlite:///"
DEFAULTS = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    # A server that hangs or fails is given up after 20 seconds; MLflow's own limits add up to minutes.
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "5",
    "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "1",
}
# Where MLflow writes absolute addresses of artifacts.
ADDRESSES = {
    "experiments": ("artifact_location",),
    "runs": ("artifact_uri",),
    "model_versions": ("source", "storage_location"),
    "logged_models": ("artifact_location",),
}


def open_registry() -> Registry:
    """Open the registry that MLFLOW_TRACKING_URI names, or the one in this folder."""
    for key, value in DEFAULTS.items():
        os.environ.setdefault(key, value)
    from .mlflow_registry import MlflowRegistry  # it loads MLflow, which looks at these when it is loaded

    # Absolute, because MLflow keeps a connection per address, wherever the process goes.
    return MlflowRegistry(os.environ.get("MLFLOW_TRACKING_URI") or f"{SQLITE}{EMBEDDED.absolute()}")


def database(uri: str) -> Path | None:
    """Return the file that an address names; None for a server."""
    return Path(uri.removeprefix(SQLITE)).absolute() if uri.startswith(SQLITE) else None


def artifacts(database: Path) -> str:
    """Return the address of the mlartifacts/ beside a database, as it is now."""
    return (database.parent / "mlartifacts").as_uri()


def follow_move(database: Path) -> None:
    """Let a database point at the mlartifacts/ beside it, after the project's folder was moved or copied.

    MLflow turns every address into an absolute one. Without this a moved project does not find its
    versions, and a copied one writes into the original.
    """
    if not database.is_file():
        return
    with closing(sqlite3.connect(database, timeout=30)) as tables, tables:
        columns = {
            table: [row[1] for row in tables.execute(f"PRAGMA table_info({table})")] for table in ADDRESSES
        }
        if "artifact_location" not in columns["experiments"]:
            return
        here = artifacts(database)
        query = (
            "SELECT DISTINCT artifact_location FROM experiments WHERE artifact_location LIKE '%/mlartifacts'"
        )
        for (old,) in tables.execute(query).fetchall():
            if old == here:
                continue
            for table, names in ADDRESSES.items():
                for name in set(names) & set(columns[table]):
                    tables.execute(
                        f"UPDATE {table} SET {name} = ? || substr({name}, ?) WHERE {name} LIKE ? || '%'",
                        (here, len(old) + 1, old),
                    )
