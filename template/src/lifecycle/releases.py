"""Commands on the registry: who released what, when and why, and how to go back."""

import json
from pathlib import Path

import click

from . import errors
from .candidate import Manifest
from .project import hook
from .registry.contract import PRODUCTION, STAGING, Move, Registry, last_move, open_registry
from .steps.register import whoami

LINEAGE = ("version", "created", "git_commit", "data_hash", "lock_hash")
why = click.option("--why", default="", envvar="WHY", help="Why: it goes into the history.")
by = click.option("--by", help="Who decides; else LIFECYCLE_BY, else git's user.name.")
as_json = click.option("--json", "as_json", is_flag=True, help="For programs.")


@click.command()
@click.argument("version", default=STAGING)
@why
@by
@as_json
def promote(version: str, why: str, by: str | None, as_json: bool) -> None:
    """Approve VERSION (an alias will do; default: staging) for production."""
    _tell(open_registry().promote(version, PRODUCTION, by or whoami(), why), as_json)


@click.command()
@click.option("--to", help="The version that serves now, if the deployment was rolled back first.")
@why
@by
@as_json
def rollback(to: str | None, why: str, by: str | None, as_json: bool) -> None:
    """Point production back at the version before."""
    _tell(take_back(open_registry(), to or "", by or whoami(), why), as_json)


def take_back(registry: Registry, to: str, by: str, why: str) -> Move:
    """Point production back at the version before, or at `to`, which serves again already."""
    last = last_move(registry) if to else None
    if to and (not last or to not in last.undo[:1]):
        # What served before need not be what had the alias before. A version that has it already stays.
        return registry.promote(to, PRODUCTION, by, why)
    return registry.rollback(PRODUCTION, by, why)


def _tell(move: Move, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(move.to_dict()))
    else:
        errors.done(f"{move.alias} is {move.version}, before it was {move.previous or 'nothing'}")
        click.echo(f"  {move.action} by {move.by} at {move.at}: {move.reason or 'no reason given'}")
    hook("on_move", move)


@click.command()
@as_json
def versions(as_json: bool) -> None:
    """List the versions, the newest first, and what the aliases point at."""
    found = open_registry().versions()
    if as_json:
        click.echo(json.dumps([{"version": v.version, "aliases": v.aliases} for v in found]))
        return
    rows = [(version.version, ", ".join(version.aliases)) for version in found]
    click.echo(errors.table(("version", "alias"), rows) if rows else "no versions yet: make retrain")


@click.command()
@click.option("--newest", default=50, show_default=True, help="So many of the last moves; 0: all.")
@as_json
def history(newest: int, as_json: bool) -> None:
    """List the moves of the aliases: who, when and why."""
    moves = open_registry().history(newest or None)
    if as_json:
        click.echo(json.dumps([move.to_dict() for move in moves]))
        return
    head = ("at", "action", "alias", "version", "by", "reason")
    rows = [[getattr(move, name) for name in head] for move in moves]
    click.echo(errors.table(head, rows) if rows else "no moves yet: make retrain")


@click.command()
@click.argument("version", default=PRODUCTION)
@as_json
def show(version: str, as_json: bool) -> None:
    """Tell what VERSION (or what an alias points at) was made from, and how to make it again."""
    manifest = open_registry().manifest(version)
    commands = _rebuild(manifest)
    if as_json:
        click.echo(json.dumps(manifest.model_dump() | {"rebuild": commands}))
        return
    lineage = [(key, getattr(manifest, key)) for key in LINEAGE]
    lineage += [(f"params.{key}", value) for key, value in manifest.params.items()]
    lineage += [(f"metrics.{key}", value) for key, value in manifest.metrics.items()]
    for key, value in lineage:
        click.echo(f"  {key:<22} {json.dumps(value) if isinstance(value, dict) else value}")
    click.echo("\nTo make it again, in a folder of its own:\n\n  " + "\n  ".join(commands))
    click.echo("\nThe same data_hash and metrics are then in artifacts/candidate/manifest.json.")
    if not manifest.git_commit or manifest.git_commit.endswith("-dirty"):
        errors.failed("it was trained from files that were not committed: this comes near, and no nearer")


def _rebuild(manifest: Manifest) -> list[str]:
    """Return the commands that train from the same commit, packages, data and params."""
    folder, commit = f"../rebuild-{manifest.version}", manifest.git_commit.removesuffix("-dirty")
    steps = ("ingest", "validate", "train", "evaluate")
    return [
        f"git worktree add --detach {folder} {commit or 'HEAD'}",
        f"cd {folder}",
        "uv sync --frozen",
        *(f"uv run --no-sync lifecycle {step}" for step in steps),
    ]


@click.command()
@click.option("--keep", default=20, show_default=True, help="So many of the newest versions stay.")
@as_json
def prune(keep: int, as_json: bool) -> None:
    """Delete old versions; what an alias points at, or would roll back to, stays."""
    pruned = open_registry().prune(keep)
    if as_json:
        click.echo(json.dumps(pruned))
    else:
        errors.done(f"{len(pruned)} versions deleted", "".join(f"\n  {version}" for version in pruned))


@click.command()
@click.argument("version", default=PRODUCTION)
@click.option("--to", type=click.Path(path_type=Path), required=True, help="Folder to replace.")
def fetch(version: str, to: Path) -> None:
    """Copy VERSION (or what an alias points at) into a folder and print its name; digests checked."""
    registry = open_registry()
    name = registry.resolve(version)
    registry.fetch(name, to)
    click.echo(name)
