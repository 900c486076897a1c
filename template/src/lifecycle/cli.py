"""Run the life of the model, step by step. Exit codes: see errors.py."""

import sys
import time
from importlib import import_module

import click

from . import text
from .errors import USAGE, LifecycleError

STEPS = {
    "ingest": "Read the data by your data.py into one Parquet file.",
    "validate": "Halt on data that breaks schema.py.",
    "train": "Fit model.py's estimator and export it to ONNX.",
    "evaluate": "The gate: seal the candidate, or say why not.",
    "register": "Publish the candidate and point the alias staging at it.",
}
TOOLS = {"adopt": "Make the project yours: write data, schema, features and model for a file."}
COMMANDS = {  # name: the module that holds it, imported only when it is called
    "promote": "releases",
    "rollback": "releases",
    "versions": "releases",
    "history": "releases",
    "show": "releases",
    "prune": "releases",
    "fetch": "releases",
    "report": "releases",
    "serve": "live",
    "predict": "live",
    "drift": "live",
}


class Lazy(click.Group):
    """Loads what a command needs when it is called: scikit-learn and MLflow take seconds."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [*STEPS, *TOOLS, *COMMANDS]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name in STEPS:
            return click.Command(cmd_name, callback=lambda: _step(cmd_name), help=STEPS[cmd_name])
        if cmd_name in TOOLS:
            return _tool(cmd_name)
        if cmd_name in COMMANDS:
            module = import_module(f".{COMMANDS[cmd_name]}", __package__)
            return getattr(module, cmd_name)
        return None


def _tool(name: str) -> click.Command:
    """Return a command that hands its words on to the template's own."""

    @click.command(
        name, help=TOOLS[name], add_help_option=False, context_settings={"ignore_unknown_options": True}
    )
    @click.argument("words", nargs=-1, type=click.UNPROCESSED)
    def command(words: tuple[str, ...]) -> None:
        tool = import_module(".template", __package__).tool(name)
        tool.main(list(words), prog_name=f"lifecycle {name}", standalone_mode=False)

    return command


@click.group(cls=Lazy, help=__doc__)
def app() -> None:
    pass


def main() -> None:
    """Run a command; an error that a user can act on is told without a traceback."""
    try:
        sys.exit(app(standalone_mode=False) or 0)
    except LifecycleError as error:
        text.failed(str(error), error.next_step)
        sys.exit(error.exit_code)
    except click.ClickException as error:
        error.show()
        sys.exit(USAGE)
    except (click.Abort, KeyboardInterrupt):
        text.failed("stopped", "run it again when you like: nothing is half-written")
        sys.exit(130)


def _step(name: str) -> None:
    start = time.perf_counter()
    result = import_module(f".steps.{name}", __package__).run()
    seconds = time.perf_counter() - start
    text.done(f"{name:9} {result}", f"  {seconds:.1f} s")
