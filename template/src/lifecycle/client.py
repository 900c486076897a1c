"""A client of the server, on the standard library alone."""

import json
import os
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pandas as pd

from .columns import Schema
from .errors import LifecycleError

BATCH_ROWS = 500


def ask(url: str, body: Any) -> dict[str, Any]:
    """POST rows to /predict and return the answer; LifecycleError with the server's own words."""
    status, answer = _call(f"{url}/predict", json.dumps(body).encode())
    if status != 200:
        raise LifecycleError(f"{url} answered {status}: {json.dumps(answer.get('detail'))[:500]}")
    return answer


def ask_file(url: str, file: Path, rows: int, schema: Schema) -> tuple[int, int]:
    """Send a file's newest rows in small batches; return how many were sent and how many refused."""
    frame = pd.read_parquet(file)
    if schema.time and schema.time in frame:
        frame = frame.sort_values(schema.time)
    wanted = frame[[column.name for column in schema.columns]].tail(rows)
    bodies = json.loads(wanted.to_json(orient="records", date_format="iso"))
    refused = 0
    for start in range(0, len(bodies), BATCH_ROWS):
        batch = bodies[start : start + BATCH_ROWS]
        status, answer = _call(f"{url}/predict", json.dumps(batch).encode())
        if status == 422:
            refused += len(batch)
        elif status != 200:
            raise LifecycleError(f"{url} answered {status}: {answer}")
    return len(bodies), refused


def example(url: str) -> dict[str, Any]:
    """Return the example row that the server's own documentation shows."""
    return _call(f"{url}/openapi.json")[1]["components"]["schemas"]["Row"]["example"]


def _call(url: str, body: bytes | None = None) -> tuple[int, dict[str, Any]]:
    headers = {"Content-Type": "application/json"}
    if key := os.environ.get("API_KEY"):
        headers["X-API-Key"] = key
    try:
        with urllib.request.urlopen(urllib.request.Request(url, body, headers), timeout=30) as done:
            return done.status, json.load(done)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)
    except OSError as error:
        raise LifecycleError(
            f"nothing answers at {url}: {error}", "start it: make serve, or make deploy"
        ) from error
