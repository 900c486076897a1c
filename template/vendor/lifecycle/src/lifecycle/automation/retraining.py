"""One retraining at a time: the lock, the cooldown, each step with its time limit, and retries.

The lock is a note in the loop's state, so it holds on all hosts, whatever starts a retraining.
"""

import json
import os
import random
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path

from .. import http, settings
from ..alerts import alert
from ..errors import Busy, LifecycleError
from ..project import Project
from ..settings import Retrain
from ..state.store import State, open_state

NOTE, RUNBOOK = "retraining", "docs/runbooks.md#retraining"
STEPS = ("ingest", "validate", "train", "evaluate", "register")  # without DVC; with it, those of dvc.yaml
FINAL = (4, 5, 7, 8)  # exit codes that another attempt does not change: see errors.py
HUNG = (124, 137)  # of timeout(1), after SIGTERM and after SIGKILL
_alert = partial(alert, done="production is as it was", runbook="retraining")


@dataclass(frozen=True)
class Note:
    """The last retraining: asked for, begun and ended when (seconds since 1970), and by which run.

    pid: of the process that lives as long as the run, on `host` as _host() names it; 0 if there is none.
    """

    reason: str = ""
    asked: float = 0.0
    run: str = ""
    begun: float = 0.0
    ended: float = 0.0
    code: int = 0
    host: str = ""
    pid: int = 0

    @classmethod
    def read(cls, state: State) -> tuple["Note", str]:
        """Return the note, and the tag to swap it by."""
        return state.load(NOTE, lambda facts: cls(**facts), cls())

    def running(self, limits: Retrain, now: float, run: str = "") -> str:
        """Return who retrains; "" if nobody, or `run` itself, or one that is dead or must be."""
        here = self.pid > 0 and self.host == _host()
        # A start far in the future is of a clock that was wrong: it must not block for ever.
        over = self.begun <= self.ended or abs(now - self.begun) >= limits.lock_hours * 3600
        if over or (not _alive(self.pid) if here else run == self.run):
            return ""
        return f"{self.run} has retrained for {(now - self.begun) / 60:.0f} min, and is still going on"


def _host() -> str:
    """Return a name of what a process id means something in: this boot of the host, this container."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{os.uname().nodename} {boot} {os.stat('/proc/self/ns/pid').st_ino}"
    except OSError:  # not Linux
        return os.uname().nodename


def _alive(pid: int) -> bool:
    stat = Path(f"/proc/{pid}/stat")  # a process that is dead, but not taken note of, takes signals too
    try:
        os.kill(pid, 0)
        return not stat.exists() or stat.read_text(encoding="utf-8").rpartition(")")[2].split()[0] != "Z"
    except OSError as error:
        return isinstance(error, PermissionError)  # it is somebody else's


def _swap(state: State, note: Note, tag: str) -> None:
    if not state.swap(NOTE, json.dumps(asdict(note)), tag):
        raise Busy("somebody else asks for retraining at this moment", "nothing: one of the two goes on")


@contextmanager
def cooldown(project: Project, reason: str) -> Iterator[None]:
    """Claim a start for the block. A block that fails gives the claim back.

    Raises Busy while a retraining runs, and within retrain.cooldown_hours of the last start.
    """
    state, limits, now = open_state(project), settings.load(project).retrain, time.time()
    last, tag = Note.read(state)
    why, minutes, hours = last.running(limits, now), abs(now - last.asked) / 60, limits.cooldown_hours
    if not why and minutes < hours * 60:
        why = f"the last start was {minutes:.0f} min ago ({last.reason}), the cooldown is {hours:g} h"
    if why:
        raise Busy(f"skipped: {reason}: {why}", "wait; or retrain by hand: make retrain")
    _swap(state, claim := Note(reason, asked=now), tag)
    try:
        yield
    except BaseException:
        found, tag = Note.read(state)
        if found == claim:
            _swap(state, last, tag)
        raise


def claim(project: Project, reason: str) -> None:
    """Claim a start for whoever asked for a check. Raises Busy as `cooldown` does."""
    with cooldown(project, reason):
        pass


def begin(project: Project, run: str, reason: str, pid: int = 0) -> None:
    """Take the lock, before the first step, and alert of a run that died with it.

    run: the orchestrator's name of this run, which may begin again, on another host too. pid: of the process
    that lives as long as the run: once it is dead, another run takes over at once.
    Raises Busy, after an alert, if another run has the lock.
    """
    try:
        state, now = open_state(project), time.time()
        last, tag = Note.read(state)
        if who := last.running(settings.load(project).retrain, now, run):
            raise Busy(who, f"see {RUNBOOK}")
        if last.begun > last.ended:
            _alert(project, f"{last.run} never ended ({last.reason}): it died, and {run} takes over")
        asked = now if last.begun else last.asked or now  # when the start was claimed, if it was
        _swap(state, Note(reason, asked, run, now, host=_host(), pid=pid), tag)
    except LifecycleError as error:
        _alert(project, f"retraining ({reason}) was not begun: {error}")
        raise
    _beat("/start")


def end(project: Project, run: str, code: int) -> None:
    """Report how a run ended (0: it went well), and give the lock back."""
    if code:
        _alert(project, f"{run} failed (exit code {code}): see {RUNBOOK}")
    _beat("/fail" if code else "")
    last, tag = Note.read(state := open_state(project))
    if last.run == run:
        _swap(state, replace(last, ended=max(time.time(), last.begun), code=code), tag)


def _beat(event: str) -> None:
    """Report to LIFECYCLE_HEARTBEAT_URL as healthchecks.io takes it: /start, "" for success, /fail.

    A run goes on without its heartbeat.
    """
    url = os.environ.get("LIFECYCLE_HEARTBEAT_URL", "").rstrip("/")
    try:
        status = http.send(url + event).status if url else 200
        problem = f" answers {status}" if status >= 400 else ""
    except LifecycleError as error:
        problem = f": {error}"
    if problem:
        print(f"error: LIFECYCLE_HEARTBEAT_URL{problem}", file=sys.stderr, flush=True)


def retrain(project: Project, run: str, reason: str, dvc: bool = True) -> int:
    """Retrain under the lock, with retrain.retries; return the exit code of the step that failed, or 0.

    dvc: run what dvc.yaml says has changed; else every step, in this process. Raises Busy as `begin` does.
    """
    begin(project, run, reason, os.getpid())
    code, left = 1, list(STEPS)
    try:
        limits = settings.load(project).retrain
        for attempts_left in range(limits.retries, -1, -1):
            code = run_step(project) if dvc else _run_in_process(project, left)
            if code in (0, *FINAL) or not attempts_left:
                break
            doubled = limits.retry_seconds * 2 ** (limits.retries - attempts_left)
            seconds = doubled * (1 + random.random() / 4)
            left_over = f"{attempts_left} attempts are left"
            print(f"exit code {code}; again in {seconds:.2f} s, {left_over}", flush=True)
            time.sleep(seconds)
    finally:  # when this process is ended, too
        end(project, run, code)
    return code


def _run_in_process(project: Project, left: list[str]) -> int:
    """Run the steps that are left, and take each that succeeds out of the list. Returns an exit code."""
    while left:
        try:
            line = project.run(left[0])
            print(f"✓ {left.pop(0):9} {line}", flush=True)
        except Exception as error:
            code = getattr(error, "exit_code", 1)
            print(f"error: {left[0]}: {error or type(error).__name__}", file=sys.stderr, flush=True)
            _alert(project, f"{left[0]} failed with exit code {code}")
            return code
    return 0


def run_step(project: Project, name: str = "", attempt: int = 1) -> int:
    """Run one step of dvc.yaml, or all, as far as anything changed, within retrain.limit_minutes.

    attempt: of this run; people are alerted of any but the first. Returns the step's exit code, or 124.
    """
    what, minutes = name or "retraining", settings.load(project).retrain.limit_minutes
    if attempt > 1:
        _alert(project, f"{what} is tried again: attempt {attempt}")
    words = ["timeout", "--kill-after=5", f"{minutes * 60}", "dvc", "repro"]
    code, output = _run(project, words + (["--single-item", name] if name else []))
    if code in HUNG:
        _alert(project, f"{what} was stopped: retrain.limit_minutes is {minutes:g}")
        return HUNG[0]
    if code:
        found = re.search(r"failed to reproduce '(\S+)': .*exited with (\d+)", output)
        name, code = (found[1], int(found[2])) if found else (name or "dvc", code)
        _alert(project, f"{name} failed with exit code {code}")
    return code


def environment() -> dict[str, str]:
    """Return the environment in which dvc and lifecycle are those beside this Python."""
    path = os.environ.get("PATH", os.defpath)
    return os.environ | {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{path}"}


def _run(project: Project, words: list[str]) -> tuple[int, str]:
    """Run a command and print its lines as they come. When this process is ended, the command is too."""
    output, streams = "", {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    with subprocess.Popen(words, cwd=project.root, env=environment(), text=True, **streams) as running:
        try:
            for line in running.stdout or ():
                output += line
                print(line, end="", flush=True)
        except BaseException:
            running.terminate()
            raise
    return running.returncode, output
