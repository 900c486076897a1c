"""What cron, Prefect and Airflow call around each retraining: begin, step, end.

A note in the registry's store, changed by compare-and-swap, says who asked last, who runs and how it ended.
"""

import json
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from functools import partial

import click

from . import settings
from .errors import Busy, LifecycleError, heartbeat
from .monitoring.alerts import alert
from .registry.contract import Registry, open_registry
from .settings import Retrain

NOTE, PAGE = "retraining", "docs/runbooks/retraining.md"
HUNG = (124, 137)  # of timeout(1), after SIGTERM and after SIGKILL
tell = partial(alert, done="production is as it was", runbook=PAGE)
run_id = click.option("--run", required=True, help="What the orchestrator calls this run.")


@dataclass(frozen=True)
class Note:
    """The last retraining: asked for, begun and ended when (seconds since 1970), and by which run."""

    reason: str = ""
    asked: float = 0.0
    run: str = ""
    begun: float = 0.0
    ended: float = 0.0
    code: int = 0

    def going_on(self, bars: Retrain, now: float) -> str:
        """Return who retrains; "" if nobody, or one that must have died."""
        held = self.begun > self.ended and now - self.begun < bars.lock_hours * 3600
        return f"{self.run} has retrained for {(now - self.begun) / 60:.0f} min" if held else ""

    def too_soon(self, bars: Retrain, now: float) -> str:
        """Return how long ago it was asked for; "" if that is long enough ago."""
        if now - self.asked >= bars.cooldown_hours * 3600:
            return ""
        ago = f"{(now - self.asked) / 60:.0f} min ago ({self.reason})"
        return f"the last start was {ago}, the cooldown is {bars.cooldown_hours:g} h"


def _read(registry: Registry) -> tuple[Note, str]:
    text, tag = registry.note(NOTE)
    return Note(**json.loads(text or "{}")), tag


def _swap(registry: Registry, note: Note, tag: str) -> None:
    if not registry.swap_note(NOTE, json.dumps(asdict(note)), tag):
        raise Busy("somebody else asks for retraining at this moment", "nothing: one of the two goes on")


@contextmanager
def cooldown(reason: str) -> Iterator[None]:
    """Claim a start for the block; Busy if it is not time yet. A block that fails gives the claim back."""
    registry, bars, now = open_registry(), settings.load().retrain, time.time()
    last, tag = _read(registry)
    if why := last.going_on(bars, now) or last.too_soon(bars, now):
        raise Busy(f"left out: {reason}: {why}", "wait; or retrain by hand: make retrain")
    _swap(registry, claim := Note(reason, asked=now), tag)
    try:
        yield
    except BaseException:
        found, tag = _read(registry)
        if found == claim:
            _swap(registry, last, tag)
        raise


@click.command()
@run_id
@click.option("--reason", default="schedule", show_default=True)
def begin(run: str, reason: str) -> None:
    """Take the lock, before the first step. Exit code 75: another run has it."""
    try:
        _lock(run, reason)
    except LifecycleError as error:
        tell(f"retraining ({reason}) was not begun: {error}")
        raise
    heartbeat("/start")


def _lock(run: str, reason: str) -> None:
    now = time.time()
    last, tag = _read(registry := open_registry())
    if last.run != run and (who := last.going_on(settings.load().retrain, now)):
        raise Busy(who, f"see {PAGE}")
    if last.begun > last.ended:
        tell(f"{last.run} never ended ({last.reason}): it died, and {run} takes over")
    _swap(registry, Note(reason, now if last.begun else last.asked or now, run, now), tag)  # asked: claimed


@click.command()
@run_id
@click.option("--code", required=True, type=int, help="0: it went well.")
def end(run: str, code: int) -> None:
    """Tell how a run went, and give the lock back."""
    if code:
        tell(f"{run} failed (exit code {code}): see {PAGE}")
    heartbeat("/fail" if code else "")
    last, tag = _read(registry := open_registry())
    if last.run == run:
        _swap(registry, replace(last, ended=time.time(), code=code), tag)


@click.command()
@click.argument("name", required=False)
@click.option("--attempt", default=1, help="Of this run; another than the first is told.")
def step(name: str | None, attempt: int) -> None:
    """Run the step NAME, or all, if anything changed. Exit code: its own, or 124 after the limit."""
    if attempt > 1:
        tell(f"{name or 'retraining'} is tried again: attempt {attempt}")
    minutes = settings.load().retrain.limit_minutes
    words = ["timeout", "--kill-after=5", f"{minutes * 60}", "dvc", "repro"]
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    code, said = _run(words + (["--single-item", name] if name else []))
    if code in HUNG:
        tell(f"{name or 'retraining'} was stopped: retrain.limit_minutes is {minutes:g}")
        code = HUNG[0]
    elif code:
        told = re.search(r"failed to run: lifecycle (\w+), exited with (\d+)", said)
        name, code = (told[1], int(told[2])) if told else (name, code)
        tell(f"{name or 'dvc'} failed with exit code {code}")
    raise SystemExit(code)


def _run(words: list[str]) -> tuple[int, str]:
    """Run a command, and say what it says as it comes; when this process is told to end, it is too."""
    said = ""
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as running:
        try:
            for line in running.stdout or ():
                said += line
                click.echo(line, nl=False)
        except BaseException:
            running.terminate()
            raise
    return running.returncode, said
