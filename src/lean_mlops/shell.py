"""Runs a rendered project's commands as a person would, and shows them."""

import os
import shlex
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

START_SECONDS = 60
# The caller's own settings must not reach the project's commands.
FOREIGN = (
    "VIRTUAL_ENV",
    "PYTHONPATH",
    "PYTHONDONTWRITEBYTECODE",
    "MLFLOW_TRACKING_URI",
    "REGISTRY_URI",
    "API_KEY",
    "AWS_PROFILE",
    "STACK",
    "STAGE",
    "MAKEFLAGS",
    "MAKELEVEL",
    "MFLAGS",
)


class Failed(Exception):
    """A command ended otherwise than expected."""


def free_port() -> int:
    """Return a port of this machine that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def until_healthy(port: int, server: subprocess.Popen) -> str:
    """Wait for /health to answer 200 and return what it says; Failed when the server ends or stays silent."""
    start = time.monotonic()
    while time.monotonic() - start < START_SECONDS and server.poll() is None:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=2) as answer:
                return answer.read().decode()
        except OSError:
            time.sleep(0.2)
    raise Failed(f"nothing became healthy on port {port} (exit code {server.poll()})")


class Project:
    """A rendered project in a folder, under git as its README says."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._server: subprocess.Popen[bytes] | None = None
        kept = {name: value for name, value in os.environ.items() if name not in FOREIGN}
        # Our own uv is left out: the project must work without this repository, and make setup installs one.
        places = [kept.get("PATH", ""), str(folder / ".tools/bin"), str(Path(sys.base_prefix, "bin"))]
        self._env = kept | {
            "PATH": os.pathsep.join(places),
            "PYTHONUNBUFFERED": "1",
            "LIFECYCLE_BY": kept.get("USER", "you"),
        }
        print(f"\033[1m▸ Rendered {folder.name}\033[0m\n  {self._size()} in {folder}", flush=True)
        subprocess.run(["git", "init", "--quiet"], cwd=folder, env=self._env, check=True)

    @property
    def package(self) -> str:
        """The package that holds the user's own code."""
        packages = [path.parent.name for path in self.folder.glob("src/*/schema.py")]
        return packages[0]

    def _size(self) -> str:
        places = ("vendor", "data")
        files = [path for path in self.folder.rglob("*") if path.is_file()]
        own = [path for path in files if path.relative_to(self.folder).parts[0] not in places]
        lines = sum(len(path.read_text().splitlines()) for path in own if path.suffix == ".py")
        return f"{len(own)} files, {lines:,} lines of Python, on the library in vendor/,"

    def act(self, title: str, command: str, expect: tuple[int, ...] = (0,)) -> str:
        """Show a command, run it and show what it says; Failed on another exit code than expected."""
        if title:
            print(f"\n\033[1m▸ {title}\033[0m")
        print(f"  \033[36m$ {command}\033[0m", flush=True)
        start = time.perf_counter()
        lines = []
        with subprocess.Popen(
            shlex.split(command),
            cwd=self.folder,
            env=self._env,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        ) as running:
            for line in running.stdout or ():
                lines.append(line)
                if _worth_showing(line):
                    print("  " + line, end="", flush=True)
        if running.returncode not in expect:
            raise Failed(f"`{command}` ended with exit code {running.returncode}")
        print(f"  \033[2m{time.perf_counter() - start:.0f} s\033[0m", flush=True)
        return "".join(lines)

    def serve(self, title: str, port: int) -> None:
        """Start `make serve` in the background, and wait until it is healthy."""
        command = f"make serve PORT={port}"
        print(f"\n\033[1m▸ {title}\033[0m\n  \033[36m$ {command} &\033[0m", flush=True)
        with (self.folder / "server.log").open("wb") as log:
            self._server = subprocess.Popen(
                shlex.split(command), cwd=self.folder, env=self._env, stdout=log, stderr=log,
                start_new_session=True,
            )  # fmt: skip
        try:
            print("  " + until_healthy(port, self._server), flush=True)
        except Failed as error:
            raise Failed(f"{error}\n{(self.folder / 'server.log').read_text()}") from error

    def stop_server(self) -> None:
        """End the server as a person's Ctrl-C would, so that it writes its last counts."""
        if self._server and self._server.poll() is None:
            os.killpg(self._server.pid, signal.SIGINT)
            self._server.wait(timeout=30)
        self._server = None

    def replace(self, file: str, old: str, new: str) -> None:
        """Edit a file as a person would, and say so."""
        path = self.folder / file
        text = path.read_text()
        if old not in text:
            raise Failed(f"{file} has no line {old!r}")
        path.write_text(text.replace(old, new, 1))
        print(f"\n  \033[33m{file}\033[0m: {old} → {new}", flush=True)


def _worth_showing(line: str) -> bool:
    """Leave out what DVC says to its own users."""
    noise = (
        "Running stage",
        "> lifecycle",
        "Generating lock",
        "Updating lock",
        "To track",
        "git add",
        "Use `dvc",
    )
    to_enable = "To enable auto staging"
    return bool(line.strip()) and not line.strip().startswith((*noise, to_enable, "dvc config", "make"))
