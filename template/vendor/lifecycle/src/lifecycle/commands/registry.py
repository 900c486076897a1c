"""Commands on the registry: who released what, when and why, and how to go back."""

import json
from dataclasses import asdict
from pathlib import Path

import click

from .. import console
from ..console import json_option
from ..project import Project
from ..registry.base import PRODUCTION, STAGING, Move, open_registry, take_back, whoami

why_option = click.option("--why", default="", envvar="WHY", help="Why: it goes into the history.")
by_option = click.option("--by", help="Who decides; else LIFECYCLE_BY, else git's user.name.")


@click.command()
@click.argument("version", default=STAGING)
@why_option
@by_option
@json_option
def promote(version: str, why: str, by: str | None, as_json: bool) -> None:
    """Approve VERSION (or what an alias points at; default: staging) for production."""
    project = Project.find()
    move = open_registry(project).promote(version, PRODUCTION, by or whoami(project), why)
    _print_move(project, move, as_json)


@click.command()
@click.option("--to", default="", help="The version that serves now, if the deployment went back first.")
@why_option
@by_option
@json_option
def rollback(to: str, why: str, by: str | None, as_json: bool) -> None:
    """Point production back at the version before."""
    project = Project.find()
    _print_move(project, take_back(open_registry(project), to, by or whoami(project), why), as_json)


def _print_move(project: Project, move: Move, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(asdict(move)))
    else:
        console.done(f"{move.alias} is {move.version}, before it was {move.previous or 'nothing'}")
        click.echo(f"  {move.action} by {move.by} at {move.at}: {move.reason or 'no reason given'}")
    project.hook("on_move", move)


@click.command()
@json_option
def versions(as_json: bool) -> None:
    """List the versions, the newest first, and what the aliases point at."""
    found = [asdict(item) for item in open_registry(Project.find()).versions()]
    rows = [(item["version"], ", ".join(item["aliases"])) for item in found]
    console.show(found, ("version", "alias"), rows, "no versions yet: make retrain", as_json)


@click.command()
@click.option("--newest", default=50, show_default=True, help="So many of the last moves; 0: all.")
@json_option
def history(newest: int, as_json: bool) -> None:
    """List the moves of the aliases: who, when and why."""
    moves = [asdict(move) for move in open_registry(Project.find()).history(newest or None)]
    head = ("at", "action", "alias", "version", "by", "reason")
    rows = [[move[name] for name in head] for move in moves]
    console.show(moves, head, rows, "no moves yet: make retrain", as_json)


@click.command()
@click.argument("version", default=PRODUCTION)
@json_option
def show(version: str, as_json: bool) -> None:
    """Show what VERSION (or what an alias points at) was made from, and how to make it again."""
    manifest = open_registry(Project.find()).manifest(version)
    folder, commit = f"../rebuild-{manifest.version}", manifest.git_commit.removesuffix("-dirty") or "HEAD"
    steps = [f"uv run --no-sync lifecycle {step}" for step in ("ingest", "validate", "train", "evaluate")]
    rebuild = [f"git worktree add --detach {folder} {commit}", f"cd {folder}", "uv sync --frozen", *steps]
    whole = manifest.model_dump() | {"rebuild": rebuild}
    if as_json:
        click.echo(json.dumps(whole))
        return
    facts = {key: whole[key] for key in ("version", "created", "git_commit", "data_hash", "lock_hash")}
    facts |= {f"{part}.{key}": value for part in ("params", "metrics") for key, value in whole[part].items()}
    for key, value in facts.items():
        click.echo(f"  {key:<22} {json.dumps(value) if isinstance(value, dict) else value}")
    click.echo("\nTo make it again, in a folder of its own:\n\n  " + "\n  ".join(rebuild))
    click.echo("\nThe same data_hash and metrics are then in artifacts/candidate/manifest.json.")
    if not manifest.git_commit or manifest.git_commit.endswith("-dirty"):
        console.warn("it was trained from files that were not committed: the result may differ")


@click.command()
@click.option("--keep", default=20, show_default=True, help="So many of the newest versions stay.")
@json_option
def prune(keep: int, as_json: bool) -> None:
    """Delete old versions; what an alias points at, or would roll back to, stays."""
    pruned = open_registry(Project.find()).prune(keep)
    if as_json:
        click.echo(json.dumps(pruned))
    else:
        console.done(f"{len(pruned)} versions deleted", "".join(f"\n  {version}" for version in pruned))


@click.command()
@click.argument("version", default=PRODUCTION)
@click.option("--to", type=click.Path(path_type=Path), required=True, help="Folder to replace.")
def fetch(version: str, to: Path) -> None:
    """Copy VERSION (or what an alias points at) into a folder and print its name; digests checked."""
    registry = open_registry(Project.find())
    registry.fetch(name := registry.resolve(version), to)
    click.echo(name)
