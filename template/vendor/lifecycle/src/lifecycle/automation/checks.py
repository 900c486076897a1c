"""The scheduled check of production: found, decided by policy.py, recorded, done and reported."""

import json
import os
import shutil
import socket
import subprocess
import time
from dataclasses import asdict
from datetime import datetime

from .. import settings
from ..alerts import alert, send_late
from ..errors import DRIFT, INSUFFICIENT_DATA, Busy, LifecycleError
from ..maintenance import window_of
from ..model.package import verify
from ..monitoring import drift, performance, serving_stats
from ..monitoring.profile import Profile
from ..project import Project
from ..registry.base import PRODUCTION, Registry, live_folder, live_version, open_registry, take_back
from ..registry.transitions import Move
from ..state.store import State, open_state
from . import policy, retraining
from .policy import ALERT, HELD_BACK, NOTHING, RETRAIN, ROLL_BACK, Action, Check

NOTE = "checks"
TRIES = 5  # at recording, while others do
SHOWN = 20  # features whose KS distance is recorded
NOT_DEPLOYED = 3  # of deploy/*/rollback.sh: nothing of this project can be reached from here
ANOTHER = 6  # of the same: another version serves than the one to go back from
NEEDS = {"docker": "docker", "kubernetes": "kubectl", "lambda": "sh"}  # commands of those scripts
BY_HAND = "make rollback; docs/runbooks.md#roll-back"


def examine(project: Project) -> tuple[drift.Verdict, str, Profile, Profile]:
    """Compare what production was asked of late with its training data.

    Returns the verdict, the version, and the profiles it was computed from: training's and the current one.
    """
    thresholds, folder = settings.load(project).drift, live_folder(project)
    version, reference = verify(folder).version, Profile.read(folder)
    current, rejected = serving_stats.collect(reference, project.windows, version, thresholds.window_hours)
    return drift.judge(reference, current, rejected, thresholds), version, reference, current


def run_check(project: Project) -> tuple[str, int]:
    """Check production, act as params.yaml's policy says, and decide whether to retrain.

    Returns what to print and the exit code of `lifecycle due`. Raises Busy: a retraining, but not so soon.
    """
    send_late(project)
    reason, text, code, action = new_data(project), "", 0, Action()
    registry = open_registry(project)
    if PRODUCTION in registry.aliases():
        found, code = _found(project, registry)
        text, action = f"{found.drift}: {found.why}", react(project, found)
    if action.do == RETRAIN:
        return f"{action.cause}: {action.why}", DRIFT
    if action.do in (ROLL_BACK, HELD_BACK):
        code, text = 0, f"{action.do}: {action.why}\n{text}"
    if reason and action.cause == "broken data":
        text += f"\nskipped: {reason}: what is served is broken"
    elif reason and (window := window_of(settings.load(project).policy.maintenance, time.time())):
        text += f"\nskipped: {reason}: maintenance ({window})"
    elif reason and action.do in (NOTHING, ALERT):
        retraining.claim(project, reason)
        return reason, DRIFT
    return text.strip(), code


def retrain_if_due(project: Project, run: str, dvc: bool) -> int:
    """Check production, and retrain if that says so, or if this very run was killed while it did.

    Returns the exit code: 0 also for too few rows, and if the last start was not long enough ago.
    """
    note, _ = retraining.Note.read(open_state(project))
    if note.run == run and note.begun > note.ended:
        return retraining.retrain(project, run, note.reason, dvc)
    try:
        text, code = run_check(project)
    except Busy as error:
        text, code = str(error), 0
    print(text, flush=True)
    if code == DRIFT:
        return retraining.retrain(project, run, text, dvc)
    return 0 if code == INSUFFICIENT_DATA else code


def _found(project: Project, registry: Registry) -> tuple[Check, int]:
    """Return what drift and, once labels have come, performance say; and the exit code of drift."""
    verdict, version, *_ = examine(project)
    measured = performance.check(project) if any(project.labels.glob("*.parquet")) else None
    performed, why = (measured.verdict, measured.why) if measured else ("", "")
    why = why if performed == "worse" and verdict.verdict != "broken data" else verdict.why
    ks = {feature.name: round(feature.ks, 4) for feature in verdict.features[:SHOWN]}
    facts = verdict.verdict, performed, "", why, released(registry)
    return Check(version, time.time(), *facts, ks=ks), verdict.exit_code


def new_data(project: Project) -> str:
    """Return what `ingest` reads that has changed since it ran here; "" if it never did, or does now."""
    note, _ = retraining.Note.read(open_state(project))
    if not (project.root / "dvc.lock").is_file() or note.running(settings.load(project).retrain, time.time()):
        return ""
    env = retraining.environment()
    options = {"cwd": project.root, "env": env, "capture_output": True, "text": True}
    if not shutil.which("dvc", path=env["PATH"]):
        raise LifecycleError("dvc is not on the PATH, nor beside this Python", "make setup")
    done = subprocess.run(["dvc", "status", "--json", "ingest"], check=False, **options)
    if done.returncode:
        raise LifecycleError(f"dvc status: {done.stderr.strip()}", "fix it, then: uv run lifecycle due")
    changes = {name: how for item in json.loads(done.stdout).get("ingest", ()) for name, how in item.items()}
    changed = [f"{name} {how}" for name, how in changes.get("changed deps", {}).items()]
    return f"new data: {', '.join(changed)}" if changed else ""


def released(registry: Registry) -> float:
    """Return when production was promoted (seconds since 1970); 0.0 if there is no way back from it."""
    return _released(registry.last(PRODUCTION)[0])


def _released(last: Move) -> float:
    return datetime.fromisoformat(last.at).timestamp() if last.action == "promote" and last.undo else 0.0


def react(project: Project, found: Check) -> Action:
    """Decide, record, act and alert. What could not be done is alerted too, and raised again."""
    action, done = record(project, found), "nothing"
    why = f"{action.cause}: {action.why}"
    try:
        if action.do == RETRAIN:
            retraining.claim(project, why)
            done = "retraining was asked for"
        elif action.do == ROLL_BACK:
            done = roll_back(project, found, why)
    except LifecycleError as error:
        done = f"not done: {action.do}: {error}"
        raise
    finally:
        if action.alert:
            _alert(project, found, action, done)
    return action


def service_worse(project: Project, why: str, began: float = 0.0) -> Action:
    """Act on worse errors or latency, as Prometheus found them.

    began: when they began (seconds since 1970); what began before a release does not count against it.
    """
    registry = open_registry(project)
    version, since = live_version(registry), released(registry)
    since = 0.0 if 0 < began <= since else since
    return react(project, Check(version, time.time(), service="worse", why=why, released=since))


def record(project: Project, found: Check) -> Action:
    """Decide what to do about a check, and record both. Raises Busy if others record all the time."""
    state, thresholds, before_was_better = open_state(project), settings.load(project).policy, None
    for _ in range(TRIES):
        before, tag = recorded(state)
        action = policy.decide([*before, found], thresholds, found.at, before_was_better)
        if action.replay:
            before_was_better = performance.better_before(project, open_registry(project))
            action = policy.decide([*before, found], thresholds, found.at, before_was_better)
        after = policy.add(before, found, action)
        if state.swap(NOTE, json.dumps([asdict(check) for check in after]), tag):
            return action
    raise Busy("others check production at this moment", "nothing: the next check comes")


def recorded(state: State) -> tuple[list[Check], str]:
    """Return the checks so far, the oldest first, and the tag to swap them by."""
    return state.load(NOTE, lambda items: [Check(**item) for item in items], [])


def roll_back(project: Project, found: Check, why: str) -> str:
    """Go back to the version before: in the deployment, if it can be reached from here, and in the registry.

    A decision about a version that is no longer in production, or was promoted anew, is void.
    """
    registry, script = open_registry(project), project.root / "deploy" / project.deploy / "rollback.sh"
    now, live = registry.last(PRODUCTION)[0], ""
    if (now.version, _released(now)) != (found.version, found.released):
        return f"nothing: {now.version} is in production by now"
    if script.is_file() and shutil.which(NEEDS[project.deploy]):
        env = os.environ | {"YES": "1", "WHY": why, "FROM": found.version}
        options = {"cwd": project.root, "env": env, "text": True}
        done = subprocess.run([script.absolute()], capture_output=True, check=False, **options)
        if done.returncode == ANOTHER:
            return f"nothing: {done.stderr.strip()[-500:]}"
        if done.returncode not in (0, NOT_DEPLOYED):
            raise LifecycleError(f"{script}: {done.stderr.strip()[-500:]}", BY_HAND)
        live = done.stdout.strip()
    move = take_back(registry, live, f"policy@{socket.gethostname()}", why, now)
    text = f"rolled back to {move.version}"
    return text if live else f"{text} in the registry only: run make rollback where it is served"


def _alert(project: Project, found: Check, action: Action, done: str) -> None:
    drifts = settings.load(project).drift
    effect = f"over {drifts.psi:g} PSI or {drifts.ks:g} KS, at p < {drifts.p_value:g}"
    runbook, severity, sure = {
        "drift": ("drift", "warning", effect),
        "broken data": ("drift", "error", f"counted: over {drifts.max_rejected:.0%} of the rows"),
        "performance": ("performance", "critical", "measured on rows whose labels came"),
        "service": ("alerts", "critical", policy.RULE),
        policy.ENDED: ("alerts", "info", "it was not found for several checks in a row"),
    }[action.cause]
    runbook = "roll-back" if action.do == ROLL_BACK else runbook
    what = f"{found.version}: {action.cause}: {action.why}"
    key = f"{action.cause} {action.do} {found.version}"
    alert(project, what, sure=sure, done=done, runbook=runbook, severity=severity, key=key)
