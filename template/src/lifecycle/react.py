"""What follows from a look at production: decided by monitoring/policy.py, recorded, done, and told.

The checks so far are a note in the registry's store, changed by compare-and-swap like the one of retraining.
"""

import json
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from datetime import datetime
from pathlib import Path

import click

from . import settings
from .errors import Busy, LifecycleError
from .live import NOTHING_LIVE
from .monitoring.alerts import alert
from .monitoring.policy import HELD_BACK, RETRAIN, ROLL_BACK, Action, Check, add, decide, worth_writing
from .monitoring.replay import better_before
from .registry.contract import PRODUCTION, Registry, last_move, open_registry
from .releases import take_back

NOTE = "checks"
TRIES = 5
NOT_DEPLOYED = 3  # of deploy/*/rollback.sh: nothing of this project is to be found from here
NEEDS = {"docker": "docker", "kubernetes": "kubectl", "lambda": "sh"}
BY_HAND = "make rollback; docs/runbooks/rollback.md"


def released(registry: Registry) -> float:
    """Return when production was promoted (seconds since 1970); 0.0 if there is no way back from it."""
    last = last_move(registry)
    if not last or last.action != "promote" or not last.undo:
        return 0.0
    return datetime.fromisoformat(last.at).timestamp()


def react(found: Check, registry: Registry, retrain: Callable[[str], None]) -> Action:
    """Decide, record, act and alert; what could not be done is alerted too, and raised again."""
    action = record(found, registry)
    done, problem = "nothing", None
    try:
        if action.do == RETRAIN:
            retrain(f"{action.cause}: {action.why}")
            done = "retraining was asked for"
        elif action.do == ROLL_BACK:
            done = roll_back(registry, f"{action.cause}: {action.why}")
        elif action.do == HELD_BACK:
            click.echo(action.why)
    except LifecycleError as error:
        done, problem = f"not done: {action.do}: {error}", error
    if action.alert:
        tell(found, action, done)
    if problem:
        raise problem
    return action


def service_worse(why: str) -> Action:
    """Act on worse errors or latency, as Prometheus found them."""
    registry = open_registry()
    if PRODUCTION not in registry.aliases():
        raise LifecycleError(*NOTHING_LIVE)
    found = Check(registry.resolve(PRODUCTION), time.time(), service="worse", why=why)
    return react(replace(found, released=released(registry)), registry, _never)


def _never(reason: str) -> None:
    raise AssertionError(f"errors and latency never retrain: {reason}")


def record(found: Check, registry: Registry) -> Action:
    """Decide what to do about a check, and keep both."""
    policy, replayed = settings.load().policy, None
    for _ in range(TRIES):
        before, tag = recorded(registry)
        action = decide([*before, found], policy, found.at, replayed)
        if action.replay:
            replayed = better_before(registry)
            action = decide([*before, found], policy, found.at, replayed)
        told = found.at if action.alert else 0.0
        after = add(before, replace(found, cause=action.cause, did=action.do, alerted=told))
        text = json.dumps([asdict(check) for check in after])
        if not worth_writing(before, after, policy) or registry.swap_note(NOTE, text, tag):
            return action
    raise Busy("others check production at this moment", "nothing: the next check comes")


def recorded(registry: Registry) -> tuple[list[Check], str]:
    text, tag = registry.note(NOTE)
    return [Check(**item) for item in json.loads(text or "[]")], tag


def roll_back(registry: Registry, why: str) -> str:
    """Take the version before back, in the deployment where it is reached from here, and in the registry."""
    script, live = next(Path("deploy").glob("*/rollback.sh"), None), ""
    if script and shutil.which(NEEDS[script.parent.name]):
        env = os.environ | {"YES": "1", "WHY": why}
        done = subprocess.run([script.absolute()], env=env, capture_output=True, text=True, check=False)
        if done.returncode not in (0, NOT_DEPLOYED):
            raise LifecycleError(f"{script}: {done.stderr.strip()[-500:]}", BY_HAND)
        live = done.stdout.strip()
    move = take_back(registry, live, f"policy@{socket.gethostname()}", why)
    said = f"rolled back to {move.version}"
    return said if live else f"{said} in the registry only: run make rollback where it is served"


def tell(found: Check, action: Action, done: str) -> None:
    bars = settings.load().drift
    sure, page, severity = {
        "drift": (f"over {bars.psi:g} PSI or {bars.ks:g} KS, at p < {bars.p_value:g}", "drift", "warning"),
        "broken data": (f"counted: over {bars.max_rejected:.0%} of the rows", "drift", "error"),
        "performance": ("measured on rows whose labels came", "alerts", "critical"),
        "service": ("by the rule of that name in observability/rules.yml", "alerts", "critical"),
    }[action.cause]
    alert(
        f"{found.version}: {action.cause}: {action.why}",
        sure=sure,
        done=done,
        runbook=f"docs/runbooks/{page if action.do != ROLL_BACK else 'rollback'}.md",
        severity=severity,
        key=f"{action.cause} {action.do} {found.version}",
    )
