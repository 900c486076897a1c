"""What the orchestrators ask every few minutes: is anything due? And what was found and done so far."""

import json
import subprocess
import time
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path

import click

from . import errors, settings
from .errors import DRIFT, DataError, LifecycleError
from .live import EXIT, look
from .monitoring import performance
from .monitoring.policy import ALERT, HELD_BACK, NOTHING, RETRAIN, ROLL_BACK, Action, Check
from .project import LABELS
from .react import react, recorded, released
from .registry.contract import PRODUCTION, open_registry
from .releases import as_json
from .retraining import cooldown
from .sections import window_of

SHOWN = 20  # features in the metrics of `lifecycle listen`


@click.command()
def due() -> None:
    """Look at what is served, act on it as params.yaml's policy says, and tell whether to retrain.

    Exit code 2 and the reason: yes, start it; 75: yes, but not so soon. Otherwise as `lifecycle drift`:
    0 no, 3 insufficient data, 4 broken data, which never retrains.
    """
    reason, code, registry = new_data(), 0, open_registry()
    action, said = Action(), ""
    if PRODUCTION in registry.aliases():
        verdict, version = look()
        furthest = {item.name: round(item.ks, 4) for item in verdict.features[:SHOWN]}
        worth, worse = measured()
        why = worse if worse and verdict.verdict != "broken data" else verdict.why
        found = Check(version, time.time(), verdict.verdict, worth, why=why, ks=furthest)
        action = react(replace(found, released=released(registry)), registry, claim)
        said = f"{verdict.verdict}: {verdict.why}"
        handled = action.do in (ROLL_BACK, HELD_BACK)
        code = 0 if handled else EXIT.get(verdict.verdict, DataError.exit_code)
    if action.do == RETRAIN:
        raise SystemExit(DRIFT)
    if reason and action.cause == "broken data":
        said += f"\nleft out: {reason}: what is served is broken"
    elif reason and (window := window_of(settings.load().policy.maintenance, time.time())):
        said += f"\nleft out: {reason}: maintenance ({window})"
    elif reason and action.do in (NOTHING, ALERT):
        claim(reason)  # and nothing else is said: the orchestrator hands on what it reads here
        raise SystemExit(DRIFT)
    click.echo(said.strip())
    raise SystemExit(code)


def measured() -> tuple[str, str]:
    """Return performance's word, "" where no label has come, and how it got worse, "" if it did not."""
    if not any(LABELS.glob("*.parquet")):
        return "", ""
    verdict = performance.look()
    return verdict.verdict, verdict.why if verdict.verdict == "worse" else ""


def claim(reason: str) -> None:
    """Say why to retrain; Busy if that was said not long ago."""
    with cooldown(reason):
        click.echo(reason)


def new_data() -> str:
    """Return what `ingest` reads that is not as it was at its last run here; "" before there was one."""
    if not Path("dvc.lock").is_file():
        return ""
    words = ["dvc", "status", "--json", "ingest"]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode:
        raise LifecycleError(f"dvc status: {done.stderr.strip()}", "mend it, then: uv run lifecycle due")
    changes = {name: how for item in json.loads(done.stdout).get("ingest", ()) for name, how in item.items()}
    changed = [f"{name} {how}" for name, how in changes.get("changed deps", {}).items()]
    return f"new data: {', '.join(changed)}" if changed else ""


@click.command()
@click.option("--newest", default=20, show_default=True)
@as_json
def decisions(newest: int, as_json: bool) -> None:
    """List what checks of production found and what was done: by params.yaml's policy."""
    checks = recorded(open_registry())[0][-newest:]
    if as_json:
        click.echo(json.dumps([asdict(check) for check in checks]))
        return
    rows = [
        (
            _time(check.since),
            _time(check.at),
            check.times,
            check.version,
            ", ".join(filter(None, (check.drift, check.performance, check.service and "service"))),
            check.did,
            "yes" if check.alerted else "",
            check.why,
        )
        for check in checks
    ]
    head = ("from", "until (UTC)", "checks", "version", "found", "done", "told", "why")
    click.echo(errors.table(head, rows) if rows else "no checks yet: uv run lifecycle due")


def _time(seconds: float) -> str:
    return f"{datetime.fromtimestamp(seconds, UTC):%m-%d %H:%M}"
