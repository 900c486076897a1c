"""Troubles to inject into a step."""

import os
import signal
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

from conftest import Project

PATIENCE = 150  # seconds, on a machine that does other things too


# Of features.py: a model that passes its health check and its smoke test, and fails for requests of two rows.
INPUTS = "    inputs = dict(columns)\n"
CRASH = INPUTS, f'    if len(columns["items"]) == 2:\n        raise ZeroDivisionError\n{INPUTS}'


def until(true: Callable[[], Any], what: str) -> Any:
    """Wait until something is true, and return it."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        if found := true():
            return found
        time.sleep(0.2)
    raise AssertionError(f"{what}: not within {PATIENCE} s")


def with_environment(project: Project) -> None:
    """Give the project an environment at .venv that has its commands: those of the shared one."""
    folder = project.path / ".venv/bin"
    folder.mkdir(parents=True)
    (folder / "python").symlink_to(project.venv / "bin/python")
    (folder / "dvc").symlink_to(project.venv / "bin/dvc")
    code = (
        "import sys\nsys.path[:0] = ['src', 'vendor/lifecycle/src']\nfrom lifecycle.cli import main\nmain()\n"
    )
    (folder / "lifecycle").write_text(f"#!{project.venv}/bin/python\n{code}")
    (folder / "lifecycle").chmod(0o755)


FAILS_TWICE = """
import pathlib
tries = pathlib.Path("artifacts/tries")
tries.write_text((tries.read_text() if tries.exists() else "") + "x")
if len(tries.read_text()) < 3:
    raise OSError("the source had a moment")
"""
HANGS = """
import os, pathlib, time
if not pathlib.Path("artifacts/fixed").exists():
    pathlib.Path("artifacts/hangs").write_text(str(os.getpid()))
    time.sleep(600)
"""
FINE = ""
MARK = "\n# From here on, trouble.\n"


class Trouble:
    """Makes the step ingest of a project misbehave; every call makes it run anew, its output as before."""

    def __init__(self, project: Project) -> None:
        self.project = project
        self._file = project.path / "src/churn/data.py"
        self._good = self._file.read_text().partition(MARK)[0]
        self.marks = {name: project.path / "artifacts" / name for name in ("tries", "hangs", "fixed")}

    def make(self, code: str) -> None:
        for mark in self.marks.values():
            mark.unlink(missing_ok=True)
        self._file.write_text(f"{self._good}{MARK}{code}\n# {uuid.uuid4()}\n")

    def hanging(self) -> int:
        """Wait until the step hangs and return its process id."""
        return int(
            until(lambda: self.marks["hangs"].exists() and self.marks["hangs"].read_text(), "ingest hangs")
        )

    def kill(self, below: bytes | None = None) -> None:
        """Kill the hanging step and all above it, up to us, or the process whose command line has `below`."""
        line = [self.hanging()]
        while (parent := _parent(line[-1])) != os.getpid() and not (below and below in _command(parent)):
            line.append(parent)
        self.marks["fixed"].touch()
        for process in reversed(line):
            os.kill(process, signal.SIGKILL)


def _parent(process: int) -> int:
    return int(Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[1])


def _command(process: int) -> bytes:
    return Path(f"/proc/{process}/cmdline").read_bytes()
