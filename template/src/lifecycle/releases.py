"""Commands on the registry: who released what, when and why, and how to go back."""

import json
from pathlib import Path

import click

from . import text
from .errors import LifecycleError
from .paths import METRICS
from .registry import open_registry
from .registry.contract import PRODUCTION, STAGING, Move
from .steps.register import whoami

why = click.option("--why", default="", envvar="WHY", help="Why: it goes into the history.")
by = click.option("--by", help="Who decides; else LIFECYCLE_BY, else git's user.name.")
as_json = click.option("--json", "as_json", is_flag=True, help="For programs.")


@click.command()
@click.argument("version", default=STAGING)
@why
@by
def promote(version: str, why: str, by: str | None) -> None:
    """Approve VERSION (an alias will do; default: staging) for production."""
    _tell(open_registry().promote(version, PRODUCTION, by or whoami(), why))


@click.command()
@why
@by
def rollback(why: str, by: str | None) -> None:
    """Point production back at the version before."""
    _tell(open_registry().rollback(PRODUCTION, by or whoami(), why))


def _tell(move: Move) -> None:
    text.done(f"{move.alias} is {move.version}, before it was {move.previous or 'nothing'}")
    click.echo(f"  {move.action} by {move.by} at {move.at}: {move.reason or 'no reason given'}")


@click.command()
@as_json
def versions(as_json: bool) -> None:
    """List the versions, the newest first, and what the aliases point at."""
    found = open_registry().versions()
    if as_json:
        click.echo(json.dumps([{"version": v.version, "aliases": v.aliases} for v in found]))
        return
    rows = [(version.version, ", ".join(version.aliases)) for version in found]
    click.echo(text.table(("version", "alias"), rows) if rows else "no versions yet: make retrain")


@click.command()
@as_json
def history(as_json: bool) -> None:
    """List the moves of the aliases: who, when and why."""
    moves = open_registry().history()
    if as_json:
        click.echo(json.dumps([move.to_dict() for move in moves]))
        return
    head = ("at", "action", "alias", "version", "by", "reason")
    rows = [[getattr(move, name) for name in head] for move in moves]
    click.echo(text.table(head, rows) if rows else "no moves yet: make retrain")


@click.command()
@click.argument("version", default=PRODUCTION)
@click.option("--to", type=click.Path(path_type=Path), required=True, help="Folder to replace.")
def fetch(version: str, to: Path) -> None:
    """Copy VERSION (or what an alias points at) into a folder and print its name; digests checked."""
    registry = open_registry()
    name = registry.resolve(version)
    registry.fetch(name, to)
    click.echo(name)


@click.command()
def report() -> None:
    """Print what evaluate found, as a Markdown table."""
    if not METRICS.is_file():
        raise LifecycleError(f"{METRICS} is not here", "run: make retrain")
    facts = json.loads(METRICS.read_text(encoding="utf-8"))
    click.echo("| figure | value |\n| --- | --- |")
    for key, value in facts.items():
        click.echo(f"| {key} | {f'{value:.4g}' if isinstance(value, float) else value} |")
