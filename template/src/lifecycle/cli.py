"""Run the life of the model, step by step. Exit codes: see errors.py."""

import subprocess
import sys
import time
from importlib import import_module
from pathlib import Path

import click
import yaml

from . import errors
from .errors import USAGE, LifecycleError
from .project import fresh_folder, hook

STEPS = {
    "ingest": "Read the data by your data.py into one Parquet file.",
    "validate": "Halt on data that breaks schema.py.",
    "train": "Fit model.py's estimator and export it to ONNX.",
    "evaluate": "The gate: seal the candidate, or say why not.",
    "register": "Publish the candidate and point the alias staging at it.",
}
TOOLS = {
    "adopt": "Make the project yours: write data, schema, features and model for a file.",
    "simulate": "Live through months with faults, and see what the loop does about each.",
}
MODULES = {  # imported only when one of their commands is called
    "releases": "promote rollback versions history show prune fetch",
    "report": "report",
    "live": "serve predict drift",
    "outcomes": "labels performance",
    "score": "score",  # rendered where batches are scored
    "retraining": "begin step end",
    "due": "due decisions",
    "monitoring.alerts": "alerts",
    "listen": "listen",
    "update": "update",
}
COMMANDS = {name: module for module, names in MODULES.items() for name in names.split()}

ANSWERS = Path(".copier-answers.yml")
FETCHED = Path(".tools/template")
SHORT = {"gh:": "https://github.com/", "gl:": "https://gitlab.com/", "git+": ""}  # as Copier reads them


class Lazy(click.Group):
    """Loads what a command needs when it is called: scikit-learn and MLflow take seconds."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        paths = {name: Path(__file__).parent / f"{COMMANDS[name].replace('.', '/')}.py" for name in COMMANDS}
        return [*STEPS, *TOOLS, *(name for name, path in paths.items() if path.is_file())]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name in STEPS:
            return click.Command(cmd_name, callback=lambda: _step(cmd_name), help=STEPS[cmd_name])
        if cmd_name in TOOLS:
            return _tool(cmd_name)
        if cmd_name in self.list_commands(ctx):
            module = import_module(f".{COMMANDS[cmd_name]}", __package__)
            return getattr(module, cmd_name)
        return None


def _tool(name: str) -> click.Command:
    """Return a command that the template holds: needed once, it stays there and the project stays lean."""

    @click.command(
        name, help=TOOLS[name], add_help_option=False, context_settings={"ignore_unknown_options": True}
    )
    @click.argument("words", nargs=-1, type=click.UNPROCESSED)
    def command(words: tuple[str, ...]) -> None:
        sys.path.insert(0, str(_checkout() / "src"))
        tool = getattr(import_module(f"lean_mlops.{name}.command"), name)
        tool.main(list(words), prog_name=f"lifecycle {name}", standalone_mode=False)

    return command


@click.group(cls=Lazy, help=__doc__)
def app() -> None:
    pass


def main(commands: click.Command = app) -> None:
    """Run a command; an error that a user can act on is told without a traceback."""
    try:
        sys.exit(commands(standalone_mode=False) or 0)
    except LifecycleError as error:
        errors.failed(str(error), error.next_step)
        sys.exit(error.exit_code)
    except click.ClickException as error:
        error.show()
        sys.exit(USAGE)
    except (click.Abort, KeyboardInterrupt):
        errors.failed("stopped", "run it again when you like: nothing is half-written")
        sys.exit(130)


def _step(name: str) -> None:
    start = time.perf_counter()
    hook("before_step", name)
    result = import_module(f".steps.{name}", __package__).run()
    hook("after_step", name)
    seconds = time.perf_counter() - start
    errors.done(f"{name:9} {result}", f"  {seconds:.1f} s")


def _checkout() -> Path:
    """Return a folder with the template; it is fetched the first time."""
    if not ANSWERS.is_file():
        raise LifecycleError(f"{ANSWERS} is not here", "run the command from the project's root folder")
    answers = yaml.safe_load(ANSWERS.read_text(encoding="utf-8"))
    source, commit = str(answers["_src_path"]), str(answers.get("_commit", ""))
    local = Path(source).expanduser()
    fetched = FETCHED / (commit or "head")
    if fetched.is_dir():
        return fetched
    for short, whole in SHORT.items():
        if source.startswith(short):
            source = whole + source.removeprefix(short)
    try:
        with fresh_folder(fetched) as folder:
            _git("clone", "--quiet", source, str(folder))
            _git("-C", str(folder), "checkout", "--quiet", commit or "HEAD")
    except (subprocess.CalledProcessError, FileNotFoundError) as error:
        if local.is_dir():  # no repository, or rendered from changes that were never committed
            return local
        said = getattr(error, "stderr", "") or error
        raise LifecycleError(
            f"the template, which brings this command, cannot be fetched from {source}: {said}".strip(),
            f"check that you can reach it, or mend _src_path in {ANSWERS}",
        ) from error
    return fetched


def _git(*words: str) -> None:
    subprocess.run(["git", *words], check=True, capture_output=True, text=True)


if __name__ == "__main__":  # in an image, where the command is not installed: python -m lifecycle.cli
    main()
