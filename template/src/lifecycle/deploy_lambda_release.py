"""The parts of a release: publish, try, move the alias, watch a canary."""

import os
import signal
import sys
import time
from pathlib import Path

import click

from .deploy_lambda_aws import alarms, keep_profile
from .deploy_lambda_function import HEALTH, Function, Live
from .deploy_lambda_package import build_model, runtime
from .errors import LifecycleError

POLL = 2.0  # seconds


def say(text: str) -> None:
    click.echo(text, err=True)


def published(function: Function, version: str, folder: Path, again: bool) -> str:
    """Return the function's version that holds a registry version, published now if there is none."""
    found = [number for number, described in function.numbers() if described == version]
    if found and not again:
        return found[0]
    if function.runtime != runtime():
        raise LifecycleError(f"{function.name} runs {function.runtime}, not {runtime()}", "make stack")
    package = build_model(version, folder)
    keep_profile(function.bucket, function.prefix, version, folder)
    return function.publish(package, version)


def fit(function: Function, number: str, version: str) -> bool:
    """Ask one version of the function for its health: it predicts the row that came with the model."""
    status, answer = function.ask(number, HEALTH)
    if (status, answer.get("version")) == (200, version):
        return True
    say(f"version {number} of {function.name} answers {status}: {answer}")
    return False


def move(function: Function, last: Live, number: str) -> None:
    """Move the alias, after a canary where CANARY is set (percent of the requests, for CANARY_SECONDS)."""
    undo = last.undo if function.version(number) == last.version else (last.number, *last.undo)
    percent = float(os.environ.get("CANARY") or 0)
    if percent and number != last.number:
        say(f"{percent:g} % of the requests go to version {number}")
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that it, too, ends the canary
        trial = function.move(last, last.number, last.undo, {number: percent / 100})
        try:
            _watch(function.name, float(os.environ.get("CANARY_SECONDS") or 300))
        except BaseException:
            function.move(trial, last.number, last.undo)
            say(f"live stays {last.version}")
            raise
        last = trial
    function.move(last, number, undo)


def _watch(name: str, seconds: float) -> None:
    """Wait, and fail as soon as one of the stack's alarms goes off."""
    until = time.monotonic() + seconds
    while True:
        if gone_off := alarms(name):
            advice = "make status; look at the function's log"
            raise LifecycleError(f"the alarm {', '.join(gone_off)} went off", advice)
        if time.monotonic() >= until:
            return
        time.sleep(POLL)
