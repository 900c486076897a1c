"""Troubles to inject into a step, and a server that hears the alerts about them."""

import contextlib
import json
import os
import signal
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from conftest import Project
from services.serving import serving

PATIENCE = 150  # seconds, on a machine that does other things too


def until(true: Callable[[], Any], what: str) -> Any:
    """Wait until something is true, and return it."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        if found := true():
            return found
        time.sleep(0.2)
    raise AssertionError(f"{what}: not within {PATIENCE} s")


@dataclass
class Heard:
    """alerts: their texts; done: what was done about each; beats: asked of the heartbeat, such as /start."""

    port: int
    alerts: list[str] = field(default_factory=list)
    done: list[str] = field(default_factory=list)
    beats: list[str] = field(default_factory=list)

    @property
    def env(self) -> dict[str, str]:
        url = f"http://127.0.0.1:{self.port}"
        return {"LIFECYCLE_ALERT_URL": f"{url}/alert", "LIFECYCLE_HEARTBEAT_URL": f"{url}/beat"}

    def take(self) -> tuple[list[str], list[str]]:
        """Return what was heard since the last call: alerts, heartbeats."""
        taken = self.alerts[:], self.beats[:]
        self.alerts.clear()
        self.done.clear()
        self.beats.clear()
        return taken


@contextlib.contextmanager
def listening() -> Iterator[Heard]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            said = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            heard.alerts.append(said["text"])
            heard.done.append(said["done"])
            self._thank()

        def do_GET(self) -> None:
            heard.beats.append(self.path.removeprefix("/beat"))
            self._thank()

        def _thank(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with serving(ThreadingHTTPServer(("127.0.0.1", 0), Handler)) as server:
        heard = Heard(server.server_port)
        yield heard


def with_environment(project: Project) -> None:
    """Give the project an environment at .venv that has its commands: those of the shared one."""
    folder = project.path / ".venv/bin"
    folder.mkdir(parents=True)
    (folder / "python").symlink_to(project.venv / "bin/python")
    (folder / "dvc").symlink_to(project.venv / "bin/dvc")
    code = "import sys\nsys.path.insert(0, 'src')\nfrom lifecycle.cli import main\nmain()\n"
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
if not pathlib.Path("artifacts/mended").exists():
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
        self.marks = {name: project.path / "artifacts" / name for name in ("tries", "hangs", "mended")}

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
        self.marks["mended"].touch()
        for process in reversed(line):
            os.kill(process, signal.SIGKILL)


def _parent(process: int) -> int:
    return int(Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[1])


def _command(process: int) -> bytes:
    return Path(f"/proc/{process}/cmdline").read_bytes()
