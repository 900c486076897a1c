"""AWS on this machine: its API by moto, and functions by Lambda's own runtime client and emulator.

The tools are large and pin a lot: they get environments of their own, made by uv.
"""

import contextlib
import ctypes
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from typing import Any

from tools import UV

TOOLS = ["moto[server]>=5.1", "aws-sam-cli>=1.140"]  # the emulator and cfn-lint come with the SAM CLI
RUNTIME = ["awslambdaric>=3", "boto3"]  # what AWS's own runtime brings
RUNTIME_NAME = f"python{sys.version_info.major}.{sys.version_info.minor}"
PATIENCE = 60
QUIET = {"SAM_CLI_TELEMETRY": "0"}


class Emulator:
    """One environment of a function, as Lambda starts it: it takes events, one at a time."""

    def __init__(
        self, program: Path, python: Path, task: Path, handler: str, settings: dict[str, str]
    ) -> None:
        ports = [free_port(), free_port()]
        self._url = f"http://127.0.0.1:{ports[0]}/2015-03-31/functions/function/invocations"
        self._log = task.with_suffix(".log")
        words = ["--runtime-interface-emulator-address", f"127.0.0.1:{ports[0]}"]
        words += ["--runtime-api-address", f"127.0.0.1:{ports[1]}"]
        command = [str(program), *words, str(python), "-m", "awslambdaric", handler]
        env = {"PATH": os.environ["PATH"], "PYTHONPATH": str(task), "LAMBDA_TASK_ROOT": str(task)}
        env |= variables() | {"PYTHONDONTWRITEBYTECODE": "1"} | settings
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(
                command, cwd=task, env=env, stdout=log, stderr=log, preexec_fn=_die_with_parent
            )
        wait(ports[0], self.process, self._log)

    def invoke(self, event: Any) -> Any:
        request = urllib.request.Request(self._url, json.dumps(event).encode())
        try:
            with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
                return json.loads(answer.read())
        except (OSError, HTTPException):  # it has ended, as an environment does that cannot start
            return {"errorType": "Runtime.ExitError", "errorMessage": self.log()[-2000:]}

    def log(self) -> str:
        return self._log.read_text(errors="replace")

    def stop(self) -> None:
        """End it as Lambda ends an idle environment: SIGTERM, and half a second later SIGKILL."""
        self.process.terminate()
        self.process.wait()


@dataclass(frozen=True)
class Aws:
    """A running double of AWS and the environments behind it."""

    url: str
    tools: Path
    runtime: Path
    folder: Path

    @property
    def env(self) -> dict[str, str]:
        """Variables under which every AWS client reaches it."""
        return variables() | {"AWS_ENDPOINT_URL": self.url, "RUNTIME": RUNTIME_NAME}

    def run(self, code: str) -> str:
        """Run Python that has boto3 and AWS's client(service), and return what it prints."""
        program = f"import boto3, json\nclient = boto3.client\n{code}"
        words, env = [str(self.runtime / "bin/python"), "-"], os.environ | self.env
        done = subprocess.run(words, input=program, env=env, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def emulate(self, task: Path, handler: str, **settings: str) -> Emulator:
        settings = {"AWS_ENDPOINT_URL": self.url, **settings}
        return Emulator(emulator(self.tools), self.runtime / "bin/python", task, handler, settings)


def variables() -> dict[str, str]:
    keys = dict.fromkeys(("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"), "test")
    return keys | {"AWS_DEFAULT_REGION": "us-east-1", "AWS_EC2_METADATA_DISABLED": "true"}


def emulator(tools: Path) -> Path:
    return next(tools.glob("lib/python*/site-packages/samcli/local/rapid/aws-lambda-rie-x86_64"))


def environment(folder: Path, needs: list[str]) -> Path:
    """Make an environment with some packages; uv takes them from its cache the second time."""
    subprocess.run([UV, "venv", "--quiet", "--python", sys.executable, str(folder)], check=True)
    subprocess.run([UV, "pip", "install", "--quiet", "--python", str(folder), *needs], check=True)
    return folder


@contextlib.contextmanager
def double(folder: Path) -> Iterator[Aws]:
    """Yield an empty AWS that ends with the block."""
    tools, runtime = environment(folder / "tools", TOOLS), environment(folder / "runtime", RUNTIME)
    port, log = free_port(), folder / "aws.log"
    words = [str(port), str(folder), str(emulator(tools)), str(runtime / "bin/python")]
    program = [str(tools / "bin/python"), "-m", "services.aws_double"]
    env = os.environ | variables() | QUIET | {"PYTHONUNBUFFERED": "1"}
    env |= {"PYTHONPATH": str(Path(__file__).parents[1])}
    with log.open("wb") as output:
        process = subprocess.Popen(
            [*program, *words], env=env, stdout=output, stderr=output, preexec_fn=_die_with_parent
        )
    try:
        wait(port, process, log)
        yield Aws(f"http://127.0.0.1:{port}", tools, runtime, folder)
    finally:
        process.terminate()
        process.wait()


def wait(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    """Wait until a port answers; RuntimeError, with what was said, when the process ends before."""
    until = time.monotonic() + PATIENCE
    while time.monotonic() < until and process.poll() is None:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        time.sleep(0.05)
    raise RuntimeError(f"nothing listens on {port}:\n{log.read_text(errors='replace')[-3000:]}")


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return probe.getsockname()[1]


def _die_with_parent() -> None:
    ctypes.CDLL("libc.so.6").prctl(1, signal.SIGTERM)  # 1 is PR_SET_PDEATHSIG
