"""Release, roll back and look at the function in AWS; deploy/lambda/*.sh call this.

Exit codes: 0 done or fine, 1 refused, failed or not what was expected, 3 nothing is deployed, 6 lost a race.
"""

import os
from pathlib import Path

import click

from . import errors, settings
from .cli import main
from .deploy_lambda_aws import HEALTH, clear, fit, move, published, say
from .deploy_lambda_function import Function
from .deploy_lambda_package import BUILD, build_model, sizes
from .errors import LifecycleError
from .project import WINDOWS
from .serving.aws_lambda_pull import pull

KEEP = 5  # versions of the function; one holds some 45 MB
version = click.argument("version")
folder = click.argument("folder", type=click.Path(path_type=Path), default=BUILD / "model")


@click.group(help=__doc__)
def app() -> None:
    pass


@app.command()
@version
@folder
@click.option("--build", is_flag=True, help="Only build the package.")
def release(version: str, folder: Path, build: bool) -> None:
    """End with VERSION serving, or with the one before still serving; the last line says which."""
    if build:
        package = build_model(version, folder)
        say(f"{package}: {sizes(package)}")
        click.echo(version)
        return
    function = Function()
    last = function.live()
    again = bool(os.environ.get("AGAIN"))
    if last.version == version and not last.weights and not again and fit(function, last.number, version):
        say(f"{version} serves already: nothing to do")
        click.echo(version)
        return
    number = published(function, version, folder, again)
    if not fit(function, number, version):
        function.delete({number})
        raise LifecycleError(
            f"{version} is not fit to serve; {last.version} still serves", "AGAIN=1 make deploy"
        )
    if last.number != number or last.weights:
        move(function, last, number)
    numbers = [found for found, _ in function.numbers()]
    function.delete(set(numbers[KEEP:]))
    say(f"{version} serves as version {number} of {function.name}; before it was {last.version}")
    click.echo(version)


@app.command()
def rollback() -> None:
    """Point the alias at the version before, all requests at once; the only line says which that is."""
    function = Function()
    last = function.live()
    if last.weights:
        function.move(last, last.number, last.undo)
        say(f"a canary was under way or was killed: every request goes to {last.version} again")
        click.echo(last.version)
        return
    if not last.undo:
        raise LifecycleError(
            f"there is no version before {last.version} here",
            "uv run lifecycle versions, then make deploy VERSION=…",
        )
    now = function.move(last, last.undo[0], last.undo[1:])
    say(f"{now.version} serves again, version {now.number} of {function.name}; before it was {last.version}")
    click.echo(now.version)


@app.command()
@click.argument("expected", default="")
def status(expected: str) -> None:
    """Say what serves and what a rollback goes to; exit code 1 when that is not EXPECTED or not healthy."""
    function = Function()
    live = function.live()
    rows = [
        (number, described, "live" if number == live.number else "", f"{live.weights.get(number, 0):.0%}")
        for number, described in function.numbers()
    ]
    click.echo(errors.table(("version", "model", "alias", "canary"), rows))
    before = function.version(live.undo[0]) if live.undo else "nothing"
    click.echo(f"a rollback goes to: {before}")
    code, answer = function.ask(live.number, HEALTH)
    click.echo(f"live: {answer.get('version', 'no answer')} ({answer.get('status', answer)})")
    if live.weights:
        click.echo("a canary is under way, or its release was killed: make rollback ends it")
    if code != 200:
        raise LifecycleError(f"{function.name} is not healthy", "make rollback")
    if expected and expected != answer["version"]:
        raise LifecycleError(
            f"{expected} should be live, not {answer['version']}",
            f"make deploy, or make promote VERSION={answer['version']} if that is what you want",
        )


@app.command()
def windows() -> None:
    """Fetch the counts of what the live version was asked, for `lifecycle drift`."""
    function = Function()
    version, hours = function.live().version, settings.load().drift.window_hours
    os.environ |= {"WINDOWS_BUCKET": function.bucket, "WINDOWS_PREFIX": function.prefix}
    with clear():
        pull(version, WINDOWS, hours, logs=True)
    say(f"the counts that {version} has served are in {WINDOWS}")


if __name__ == "__main__":
    main(app)
