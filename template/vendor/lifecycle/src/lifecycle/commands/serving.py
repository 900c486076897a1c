"""Commands that serve a model: serve it, ask it, predict files by it, rehearse its releases."""

import json
import os
import socket
import sys
from pathlib import Path
from typing import Any

import click

from .. import console
from ..data.schema import describe
from ..errors import DataError, LifecycleError, missing_extra
from ..http import Answer, send
from ..project import VARIABLE, Project
from ..registry.base import live_version, open_registry

BATCH_ROWS = 500  # of a file, in one request
SECONDS = 30  # that an answer may take
folder = click.Path(exists=True, file_okay=False, path_type=Path)
file = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True)
@click.option("--port", default=8000, envvar="PORT", show_default=True)
def serve(host: str, port: int) -> None:
    """Serve the version in production on this machine, without Docker."""
    project = Project.find()
    registry = open_registry(project)
    version = live_version(registry)
    registry.fetch(version, project.served)
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            what = f"cannot listen on {host}:{port}: {error.strerror}"
            raise LifecycleError(what, "try: make serve PORT=8001") from error
    console.done(f"{version} on http://{host}:{port}, its page at /docs; Ctrl-C ends it")
    # A new process: the server needs a tenth of the memory that the registry's client has taken.
    command = [sys.executable, "-m", "lifecycle.serving", host, str(port)]
    places = {VARIABLE: str(project.root.absolute()), "MODEL_DIR": str(project.served.absolute())}
    os.execve(sys.executable, command, os.environ | places)


@click.command()
@click.option("--file", "source", type=file, help="Parquet: send its rows rather than the example.")
@click.option("--rows", default=2000, show_default=True, help="The newest so many of the file.")
@click.option("--url", default="http://127.0.0.1:8000", envvar="URL", show_default=True)
def predict(source: Path | None, rows: int, url: str) -> None:
    """Ask the server: one example row, or the rows of a file as if they were traffic."""
    project = Project.find()
    if not source:
        row = _ask(url, "/openapi.json").json()["components"]["schemas"]["Row"]["example"]
        click.echo(json.dumps({"request": row, "answer": _ask(url, "/predict", row).json()}, indent=2))
        return
    try:
        import pandas as pd
    except ModuleNotFoundError as error:
        raise missing_extra("train", error) from error
    schema, frame = describe(project.load("schema")), pd.read_parquet(source)
    if schema.time and schema.time in frame:
        frame = frame.sort_values(schema.time)
    newest = frame[[column.name for column in schema.columns]].tail(rows)
    bodies, refused, why = json.loads(newest.to_json(orient="records", date_format="iso")), 0, ""
    for start in range(0, len(bodies), BATCH_ROWS):
        batch = bodies[start : start + BATCH_ROWS]
        answer = _ask(url, "/predict", batch, 200, 422)
        if answer.status == 422:
            fault = answer.json()["detail"][0]
            refused += len(batch)
            why = why or f": row {start + fault['row'] + 1:,} of them, {fault['field']}: {fault['problem']}"
    if refused == len(bodies):
        text = f"each of the {refused:,} rows was in a request that was refused{why}"
        raise DataError(text, f"{url}/docs shows what each column may hold")
    console.done(f"{len(bodies):,} rows sent, {refused:,} of them refused{why}")


def _ask(url: str, path: str, body: Any = None, *fine: int) -> Answer:
    headers = {"X-API-Key": os.environ.get("API_KEY", "")}
    try:
        answer = send(url + path, body, headers, seconds=SECONDS)
    except LifecycleError as error:
        raise LifecycleError(f"nothing answers: {error}", "start it: make serve, or make deploy") from error
    if answer.status not in (fine or (200,)):
        raise LifecycleError(f"{url} answered {answer.status}: {answer.body.decode(errors='replace')[:500]}")
    return answer


@click.command()
@click.argument("source")
@click.option("--to", required=True, help="Where results go, those of each version into a folder of its own.")
@click.option("--shard", metavar="I/N", help="Every Nth file from the Ith on (0 is the first).")
@click.option("--model", envvar="MODEL_DIR", required=True, type=folder, help="As lifecycle fetch makes it.")
def score(source: str, to: str, shard: str | None, model: Path) -> None:
    """Predict every Parquet file under SOURCE, a folder or s3://bucket/prefix.

    Results are the same rows and columns, with prediction and error: a row that breaks the schema gets no
    prediction but the reason. A result that exists is left alone, so a run that was stopped continues.
    """
    from .. import batch

    for line in batch.score(Project.find(), source, to, model, shard):
        console.done(line)


@click.command()
@click.option("--releases", default=20, show_default=True, help="And as many rollbacks.")
@click.option("--rate", default=100.0, show_default=True, help="Requests a second.")
def drill(releases: int, rate: float) -> None:
    """Rehearse releases, rollbacks and faults under load, in Docker and beside what serves."""
    from ..deploy import drill as rehearsal

    for line in rehearsal.drill(Project.find(), releases, rate):
        click.echo(line)
