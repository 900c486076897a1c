"""The commands that update a project, and that check the library's source in it."""

import click

from .. import update as updating
from .. import vendored as vendoring
from ..project import Project


@click.command()
@click.argument("answers", nargs=-1, metavar="[QUESTION=ANSWER]...")
@click.option("--to", help="A release of the template. Default: the newest; with answers, the present one.")
def update(answers: tuple[str, ...], to: str | None) -> None:
    """Update to a new release of the template, or change an answer, on a branch of its own."""
    updating.update(Project.find(), answers, to)


@click.command()
def vendored() -> None:
    """Check that nothing in vendor/lifecycle was changed; print nothing if so."""
    vendoring.refuse_changes(Project.find())
