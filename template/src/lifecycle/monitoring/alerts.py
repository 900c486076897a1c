"""Tells people, once and not too often. A channel that is dead stops nothing, and the others tell of it.

artifacts/alerts.jsonl is both the record of every alert, sent or held back, and what the next one is held
against: the same key within policy.repeat_hours, too many within an hour, a maintenance window.
"""

import fcntl
import json
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from datetime import UTC, datetime
from http.client import HTTPException
from typing import Any

import click

from .. import errors, settings
from ..errors import SettingsError, failed
from ..project import ARTIFACTS
from ..sections import Policy, window_of
from .channels import CHANNELS, Alert, configured

LOG = ARTIFACTS / "alerts.jsonl"
KEPT = 500  # lines
SENT, HELD = "sent", "held back: "
Send = Callable[[Alert], None]


def alert(what: str, **more: str) -> None:
    """Send an alert: its text, and the other parts of channels.Alert by name."""
    send(Alert(what, **more))


def send(alert: Alert, channels: dict[str, Send] | None = None) -> None:
    """Send an alert by the channels of the environment, unless it is to be held back. Never raises."""
    bars = _bars()
    page = alert.runbook.removeprefix("docs/runbooks/")
    alert = replace(alert, runbook=f"{bars.runbooks.rstrip('/')}/{page}")
    outcome = _record(alert, bars)
    click.echo(f"alert: {alert.what}" + ("" if outcome == SENT else f" ({outcome})"), err=True)
    if outcome.startswith(HELD):
        return
    if outcome != SENT:
        alert = replace(alert, done=f"{alert.done}. More are held back for an hour: uv run lifecycle alerts")
    channels = configured() if channels is None else channels
    dead = {}
    for name, deliver in channels.items():
        try:
            deliver(alert)
        except (OSError, ValueError, HTTPException) as error:
            dead[name] = str(error) or type(error).__name__
    for name, why in dead.items():
        failed(f"{CHANNELS[name][0]}: {why}", "the run goes on; see docs/runbooks/alerts.md")
        others = {other: deliver for other, deliver in channels.items() if other not in dead}
        told = f"the alert channel {name} ({CHANNELS[name][0]}) is dead: {why}"
        send(Alert(told, done="the others tell of it", severity="error", key=f"channel {name}"), others)


def _bars() -> Policy:
    try:
        return settings.load().policy
    except SettingsError:  # which may be what the alert is about
        return Policy()


def _record(alert: Alert, bars: Policy) -> str:
    """Decide whether it is sent, and write that down; a log that cannot be written holds nothing back."""
    try:
        LOG.parent.mkdir(parents=True, exist_ok=True)
        with LOG.open("a+", encoding="utf-8") as log:
            fcntl.flock(log, fcntl.LOCK_EX)
            log.seek(0)
            lines = log.read().splitlines()
            entries = [json.loads(line) for line in lines if line.endswith("}")]
            outcome = judge(alert, entries, bars, now := time.time())
            entry = {"at": now, "outcome": outcome, **asdict(alert)}
            if len(lines) >= 2 * KEPT:
                log.truncate(0)
                log.writelines(f"{line}\n" for line in lines[-KEPT:])
            log.write(json.dumps(entry) + "\n")
            return outcome
    except (OSError, ValueError) as error:
        failed(f"{LOG} cannot be read or written: {error}", "the alert is sent all the same")
        return SENT


def judge(alert: Alert, entries: list[dict[str, Any]], bars: Policy, now: float) -> str:
    """Return "sent", "sent, and the last …" or "held back: …", after what was sent before."""
    if window := window_of(bars.maintenance, now):
        return f"{HELD}maintenance ({window})"
    sent = [entry for entry in entries if entry["outcome"].startswith(SENT)]
    if alert.key and any(e["key"] == alert.key and now - e["at"] < bars.repeat_hours * 3600 for e in sent):
        return f"{HELD}the same within {bars.repeat_hours:g} h"
    lately = sum(now - entry["at"] < 3600 for entry in sent)
    if lately >= bars.alerts_per_hour:
        return f"{HELD}{bars.alerts_per_hour} in the last hour"
    if lately == bars.alerts_per_hour - 1:
        return f"{SENT}, and the last of this hour"
    return SENT


@click.command()
@click.option("--newest", default=20, show_default=True)
@click.option("--test", is_flag=True, help="Send a test alert by every channel that is set up.")
@click.option("--json", "as_json", is_flag=True, help="For programs.")
def alerts(newest: int, test: bool, as_json: bool) -> None:
    """List the alerts of this host, those that were held back too."""
    if test:
        names = ", ".join(configured()) or "none"
        send(Alert(f"a test: alerts arrive (by {names})", severity="info"))
    entries = []
    if LOG.is_file():
        entries = [json.loads(line) for line in LOG.read_text(encoding="utf-8").splitlines()[-newest:]]
    if as_json:
        click.echo(json.dumps(entries))
        return
    rows = [
        (f"{datetime.fromtimestamp(entry['at'], UTC):%m-%d %H:%M}", entry["outcome"], entry["what"])
        for entry in entries
    ]
    click.echo(errors.table(("at (UTC)", "outcome", "what"), rows) if rows else "no alerts yet")
