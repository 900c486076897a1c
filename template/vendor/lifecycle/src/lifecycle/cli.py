"""Run the life of the model, step by step. Exit codes: see errors.py."""

import errno
import sys
from importlib import import_module

import click

from . import console
from .errors import USAGE, LifecycleError, missing_extra

# Each command, the module that holds it (in commands/, unless it names a room), and its line in --help. It is
# imported only when one of its commands is called, because scikit-learn and MLflow take seconds.
COMMANDS = {
    "ingest": ("pipeline", "Read the data by your data.py into one Parquet file."),
    "validate": ("pipeline", "Stop at data that breaks schema.py."),
    "train": ("pipeline", "Fit model.py's estimator and export it to ONNX."),
    "evaluate": ("pipeline", "The gate: seal the candidate, or say why not."),
    "register": ("pipeline", "Publish the candidate and point the alias staging at it."),
    "run": ("pipeline", "Run a function of your pipeline.py by its name."),
    "report": ("pipeline", "Print what evaluate found, as Markdown."),
    "promote": ("registry", "Approve a version for production."),
    "rollback": ("registry", "Point production back at the version before."),
    "versions": ("registry", "List the versions and what the aliases point at."),
    "history": ("registry", "List the moves of the aliases: who, when and why."),
    "show": ("registry", "Show what a version was made from, and how to make it again."),
    "prune": ("registry", "Delete old versions that no alias needs."),
    "fetch": ("registry", "Copy a version into a folder; digests are checked."),
    "serve": ("serving", "Serve the version in production on this machine."),
    "predict": ("serving", "Ask the server for one example, or for the rows of a file."),
    "score": ("serving", "Predict whole folders of Parquet files."),
    "drill": ("serving", "Rehearse releases, rollbacks and faults under load."),
    "drift": ("monitoring", "Compare what was served, or a file, with the training data."),
    "evidently": ("monitoring", "Plot and test every column of a file with Evidently."),
    "labels": ("monitoring", "Take labels that came later."),
    "performance": ("monitoring", "Compare the error of what was served with the error at the gate."),
    "due": ("automation", "Check production, react by the policy, say whether to retrain."),
    "decisions": ("automation", "List what checks of production found and what was done."),
    "alerts": ("automation", "List the alerts of this host, or send a test alert."),
    "retrain": ("automation", "Retrain under the lock: every step, with retries."),
    "begin": ("automation", "Take the lock of retraining, before the first step."),
    "step": ("automation", "Run one step of dvc.yaml, or all, under the time limit."),
    "end": ("automation", "Report how a retraining ended, and give the lock back."),
    "listen": ("automation", "Serve webhooks that ask for retraining, and metrics of the loop."),
    "adopt": ("adopt.command", "Write data, schema, features and model for a file of your own."),
    "simulate": ("simulate.command", "Replay months of traffic with injected faults."),
    "update": ("update", "Pull what is new in the template, on a branch."),
    "vendored": ("update", "Check that nothing in vendor/lifecycle was changed."),
    "lambda": ("deploy.aws_lambda.command", "Release, roll back and watch the function in AWS."),
}

# The extra of the library without which the commands of a module or room cannot be imported, if not "train".
EXTRA = {"serving": "serve", "monitoring": "monitor", "automation": "monitor", "deploy": "s3"}

LOOK = "look at that file or program, and at who may use it"
ADVICE = {
    errno.ENOSPC: "make room on the disk, then run it again",
    errno.EDQUOT: "ask for more room, or make some",
}


class Lazy(click.Group):
    """Imports the module of a command when that command is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, line) for name, (_, line) in COMMANDS.items()])

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module, line = COMMANDS[cmd_name]
        path = module if "." in module else f"commands.{module}"
        try:
            found = import_module(f"{__package__}.{path}")
        except ModuleNotFoundError as error:
            if (error.name or "").partition(".")[0] == __package__:
                raise
            raise missing_extra(EXTRA.get(module.partition(".")[0], "train"), error) from error
        command = getattr(found, "lambda_" if cmd_name == "lambda" else cmd_name)
        command.help = command.help or line
        return command


app = Lazy(help=__doc__)


def main(commands: click.Command = app) -> None:
    """Run a command; an error that a user can act on is told without a traceback."""
    try:
        sys.exit(commands(standalone_mode=False) or 0)
    except LifecycleError as error:
        console.failed(str(error), error.next_step)
        sys.exit(error.exit_code)
    except click.ClickException as error:
        error.show()
        sys.exit(USAGE)
    except BrokenPipeError:
        sys.exit(1)
    except OSError as error:
        text = f"{error.filename or 'the system'}: {error.strerror or error}"
        console.failed(text, ADVICE.get(error.errno or 0, LOOK))
        sys.exit(1)
    except (click.Abort, KeyboardInterrupt):
        console.failed("stopped", "run it again when you like: nothing is half-written")
        sys.exit(130)


if __name__ == "__main__":  # in an image, where the command is not installed: python -m lifecycle.cli
    main()
