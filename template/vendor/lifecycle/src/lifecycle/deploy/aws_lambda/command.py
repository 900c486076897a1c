"""Release, roll back and watch the function in AWS; deploy/lambda/*.sh call this.

Exit codes: 0 done or fine, 1 refused, failed or not what was expected, 3 nothing is deployed, 6 somebody was
faster.
"""

from pathlib import Path

import click

from ... import settings
from ...project import Project
from ...registry.objects import open_store
from . import function, package
from . import stack as stacks
from .windows import pull

version_of = click.argument("version")
# Of the model: build/model, where `lifecycle fetch VERSION --to build/model` puts it.
folder_of = click.argument("folder", type=Path, default=lambda: Project.find().root / "build/model")

lambda_ = click.Group(help=__doc__)


@lambda_.command()
@version_of
@folder_of
@click.option("--again", is_flag=True, envvar="AGAIN", help="Publish anew: for changed settings.")
@click.option("--canary", default=0.0, envvar="CANARY", help="Percent of the requests that it gets first.")
@click.option("--seconds", default=300.0, envvar="CANARY_SECONDS", show_default=True, help="Of the canary.")
def release(version: str, folder: Path, again: bool, canary: float, seconds: float) -> None:
    """End with VERSION serving, or with the one before still serving; the last line says which."""
    function.release(Project.find(), version, folder, again, canary, seconds)
    click.echo(version)


@lambda_.command(name="package")
@version_of
@folder_of
def package_(version: str, folder: Path) -> None:
    """Only build the package of VERSION; the last line says which."""
    made = package.build_model(Project.find(), version, folder)
    click.echo(f"{made}: {package.sizes(made)}", err=True)
    click.echo(version)


@lambda_.command()
@click.option("--from", "expected", default="", envvar="FROM", help="Only if this version serves.")
def rollback(expected: str) -> None:
    """Point the alias at the version before, all requests at once; the only line says which that is."""
    click.echo(function.rollback(Project.find(), expected))


@lambda_.command()
@click.argument("expected", default="")
def status(expected: str) -> None:
    """Show what serves and what a rollback goes to; exit code 1 when that is not EXPECTED or not healthy."""
    text, fault = function.status(Project.find(), expected)
    click.echo(text)
    if fault:
        raise fault


@lambda_.command()
@function.clear_errors()
def windows() -> None:
    """Fetch the counts of what the live version was asked, for `lifecycle drift`."""
    project = Project.find()
    live = function.Function(project)
    version, hours = live.live().version, settings.load(project).drift.window_hours
    pull(open_store(f"s3://{live.bucket}/{live.prefix}"), version, project.windows, hours, logs=True)
    click.echo(f"the counts that {version} has served are in {project.windows}", err=True)


@lambda_.command()
@version_of
@folder_of
@click.option("--bucket", default="", envvar="BUCKET", help="Yours, for packages and counts: the first time.")
@click.option("--parameters", default="", envvar="PARAMETERS", help="Name=value of template.yaml, to change.")
def stack(version: str, folder: Path, bucket: str, parameters: str) -> None:
    """Create what deploy/lambda/template.yaml describes, with VERSION, or update it."""
    name = stacks.stack(Project.find(), version, folder, bucket, parameters)
    click.echo(f"the stack {name} is up to date", err=True)
