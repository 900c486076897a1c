"""Commands for scheduled checks, alerts, retraining and webhooks."""

import signal
import socket
import sys
from dataclasses import asdict
from datetime import UTC, datetime

import click

from .. import alerts as alerting
from .. import console
from ..automation import checks, retraining
from ..console import json_option
from ..errors import missing_extra
from ..project import Project
from ..registry.base import whoami
from ..state.store import open_state

newest = click.option("--newest", default=20, show_default=True, help="So many of the last ones.")
run_id = click.option("--run", required=True, help="What the orchestrator calls this run.")


@click.command()
def due() -> None:
    """Check production, react by the policy of params.yaml, and say whether to retrain.

    Exit code 2 and the reason: yes, start it; 75: yes, but not so soon. Otherwise as `lifecycle drift`:
    0 no, 3 insufficient data, 4 broken data, which never retrains.
    """
    text, code = checks.run_check(Project.find())
    click.echo(text)
    sys.exit(code)


@click.command()
@newest
@json_option
def decisions(newest: int, as_json: bool) -> None:
    """List what checks of production found and what was done, by the policy of params.yaml."""
    found = checks.recorded(open_state(Project.find()))[0][-newest:]
    head = ("from", "until (UTC)", "checks", "version", "found", "done", "alerted", "why")
    rows = []
    for c in found:
        words = ", ".join(filter(None, (c.drift, c.performance, c.service and "service")))
        alerted = "yes" if c.alerted else ""
        rows.append((_time(c.since), _time(c.at), c.times, c.version, words, c.did, alerted, c.why))
    checks_found = [asdict(check) for check in found]
    console.show(checks_found, head, rows, "no checks yet: uv run lifecycle due", as_json)


@click.command()
@newest
@click.option("--test", is_flag=True, help="Send a test alert by every channel; exit code 1 if one fails.")
@json_option
def alerts(newest: int, test: bool, as_json: bool) -> None:
    """List the alerts of this host, also those that were held back."""
    project, failed = Project.find(), False
    if test:
        names = ", ".join(alerting.configured()) or "none"
        sent = alerting.Alert(f"a test: alerts arrive (by {names})", severity="info")
        outcome, problems = alerting.send(project, sent)
        failed = bool(problems) or outcome.startswith(alerting.HELD)
    found = alerting.recorded(project)[-newest:]
    rows = [(_time(entry["at"]), entry["outcome"], entry["what"]) for entry in found]
    console.show(found, ("at (UTC)", "outcome", "what"), rows, "no alerts yet", as_json)
    sys.exit(failed)


def _time(seconds: float) -> str:
    return f"{datetime.fromtimestamp(seconds, UTC):%m-%d %H:%M}"


@click.command()
@click.option("--reason", default="by hand", show_default=True)
@click.option("--run", help="What to call this run; default: who, and on which host.")
@click.option("--if-due", is_flag=True, help="Check production first, and retrain only if `due` says so.")
@click.option("--dvc/--no-dvc", default=True, help="What dvc.yaml says has changed, or every step.")
def retrain(reason: str, run: str | None, if_due: bool, dvc: bool) -> None:
    """Retrain under the lock: every step, with retries. Exit code: that of the step which failed.

    75: another run has the lock. With --if-due also 4, broken data; and 0 if nothing is due.
    """
    project = Project.find()
    run = run or f"{whoami(project)}@{socket.gethostname()}"
    _exit_on_sigterm()
    if if_due:
        sys.exit(checks.retrain_if_due(project, run, dvc))
    sys.exit(retraining.retrain(project, run, reason, dvc))


@click.command()
@run_id
@click.option("--reason", default="schedule", show_default=True)
@click.option("--pid", default=0, help="The process that lives as long as the run: its death frees the lock.")
def begin(run: str, reason: str, pid: int) -> None:
    """Take the lock, before the first step. Exit code 75: another run has it."""
    retraining.begin(Project.find(), run, reason, pid)


@click.command()
@click.argument("name", default="")
@click.option("--attempt", default=1, help="Of this run; people are alerted of any but the first.")
def step(name: str, attempt: int) -> None:
    """Run the step NAME, or all, if anything changed. Exit code: its own, or 124 after the limit."""
    _exit_on_sigterm()
    sys.exit(retraining.run_step(Project.find(), name, attempt))


@click.command()
@run_id
@click.option("--code", required=True, type=int, help="0: it went well.")
def end(run: str, code: int) -> None:
    """Report how a run ended, and give the lock back."""
    retraining.end(Project.find(), run, code)


def _exit_on_sigterm() -> None:
    """Let SIGTERM end what runs below, give the lock back, and report."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True)
@click.option("--port", default=8100, show_default=True)
def listen(host: str, port: int) -> None:
    """Take webhooks that ask for retraining; the token is in LIFECYCLE_LISTEN_TOKEN."""
    try:
        import uvicorn

        from ..automation.webhook_server import create_app
    except ModuleNotFoundError as error:
        raise missing_extra("serve", error) from error
    app = create_app(Project.find())
    console.done(f"listening on http://{host}:{port}; Ctrl-C ends it")
    uvicorn.run(app, host=host, port=port, access_log=False, log_level="warning")
