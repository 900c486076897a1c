"""Commands on the model in production: serve it, ask it, watch it."""

import json
import os
import socket
import sys
from pathlib import Path

import click

from . import columns, errors, project, settings
from .client import ask, ask_file, example
from .errors import DRIFT, INSUFFICIENT_DATA, DataError, LifecycleError
from .monitoring import drift as drifting
from .monitoring import files, report, windows
from .monitoring.compaction import compact
from .monitoring.profile import Profile
from .project import SERVED, WINDOWS, write_text
from .registry.contract import PRODUCTION, live_model, open_registry
from .serving.predictor import Predictor

EXIT = {"no drift": 0, "drift": DRIFT, "insufficient data": INSUFFICIENT_DATA}
COLOUR = {"no drift": "green", "insufficient data": "yellow"}
NOTHING_LIVE = "no version is in production", "approve one: make promote"
url = click.option("--url", default="http://127.0.0.1:8000", envvar="URL", show_default=True)
file = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True)
@click.option("--port", default=8000, envvar="PORT", show_default=True)
def serve(host: str, port: int) -> None:
    """Serve the version in production on this machine, without Docker."""
    registry = open_registry()
    if PRODUCTION not in registry.aliases():
        raise LifecycleError(*NOTHING_LIVE)
    version = registry.resolve(PRODUCTION)
    registry.fetch(version, SERVED)
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise LifecycleError(
                f"cannot listen on {host}:{port}: {error.strerror}", "try: make serve PORT=8001"
            ) from error
    errors.done(f"{version} on http://{host}:{port}, its page at /docs; Ctrl-C ends it")
    # A new process: the server needs a tenth of the memory that the registry's client has taken.
    app = ["lifecycle.serving.api:create_app", "--factory", "--no-access-log"]
    command = [sys.executable, "-m", "uvicorn", *app, "--host", host, "--port", str(port)]
    os.execve(sys.executable, command, os.environ | {"MODEL_DIR": str(SERVED)})


@click.command()
@click.option("--file", "source", type=file, help="Parquet: send its rows rather than the example.")
@click.option("--rows", default=2000, show_default=True, help="The newest so many of the file.")
@url
def predict(source: Path | None, rows: int, url: str) -> None:
    """Ask the server: one example row, or the rows of a file as if they were traffic."""
    if source:
        sent, rejected = ask_file(url, source, rows, columns.describe(project.load("schema")))
        errors.done(f"{sent:,} rows sent, {rejected:,} of them refused")
        return
    row = example(url)
    click.echo(json.dumps({"request": row, "answer": ask(url, row)}, indent=2))


@click.command()
@click.argument("source", required=False, type=file, metavar="[FILE]")
@click.option("--json", "as_json", is_flag=True, help="For programs.")
@click.option("--html", type=click.Path(dir_okay=False, path_type=Path), help="A page with plots, to here.")
def drift(source: Path | None, as_json: bool, html: Path | None) -> None:
    """Compare what was served of late, or a Parquet FILE, with what production was trained on.

    Exit code: 0 no drift, 2 drift, 3 insufficient data, 4 broken data.
    """
    verdict, version, reference, current = examine(source)
    name = str(source) if source else "served"
    if html:
        write_text(html, report.page(verdict, reference, current, version, name))
    if as_json:
        click.echo(json.dumps(verdict.to_dict() | {"version": version}))
    else:
        _show(verdict, version, name)
    if html:
        click.echo(f"the page with plots: {html}", err=True)
    sys.exit(EXIT.get(verdict.verdict, DataError.exit_code))


def look(source: Path | None = None) -> tuple[drifting.Verdict, str]:
    """Return the verdict on what was served, or on a file, and the version in production."""
    return examine(source)[:2]


def examine(source: Path | None = None) -> tuple[drifting.Verdict, str, Profile, Profile]:
    """Return what look does, and the counts that were compared: training's and the current ones."""
    bars = settings.load().drift
    folder = live_model()
    if folder is None:
        raise LifecycleError(*NOTHING_LIVE)
    predictor, reference = Predictor(folder), Profile.read(folder)
    if source:
        current, rejected = files.count(source, predictor, reference, project.load("schema")), 0
    else:
        current, rejected = windows.collect(reference, WINDOWS, predictor.version, bars.window_hours)
        compact(WINDOWS / predictor.version)
    return drifting.judge(reference, current, rejected, bars), predictor.version, reference, current


def _show(verdict: drifting.Verdict, version: str, source: str) -> None:
    click.echo(f"{source}: {verdict.rows:,} rows against the training data of {version}\n")
    if verdict.features:
        rows = [report.row_of(feature) for feature in verdict.features]
        click.echo(errors.table(report.HEAD, rows) + "\n")
    word = click.style(verdict.verdict, fg=COLOUR.get(verdict.verdict, "red"), bold=True)
    click.echo(f"{word}: {verdict.why}")
