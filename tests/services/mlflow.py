"""A real MLflow server for tests, from the whole package in an environment of its own, on loopback."""

import contextlib
import ctypes
import os
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

from tools import UV

PATIENCE = 180  # seconds for the first start, in which uv may still download what the server needs


@contextlib.contextmanager
def server(folder: Path, requirement: str = "mlflow") -> Iterator[str]:
    """Yield the address of a server that keeps its database and its artifacts in `folder`."""
    words = ["server", "--workers", "1", "--backend-store-uri", "sqlite:///server.db"]
    words += ["--artifacts-destination", str(folder.resolve() / "artifacts")]
    with _running(folder, [requirement], words, "health") as url:
        yield url


@contextlib.contextmanager
def serve(folder: Path, tracking: str, model: str) -> Iterator[str]:
    """Yield the address at which `mlflow models serve` answers for a registered model of the flavour onnx."""
    needs = ["mlflow", "onnx", "onnxruntime"]
    words = ["models", "serve", "-m", model, "--env-manager", "local"]
    with _running(folder, needs, words, "ping", MLFLOW_TRACKING_URI=tracking) as url:
        yield url


@contextlib.contextmanager
def _running(folder: Path, needs: list[str], words: list[str], ping: str, **more: str) -> Iterator[str]:
    folder.mkdir(parents=True, exist_ok=True)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    extra = [word for need in needs[1:] for word in ("--with", need)]
    command = [UV, "tool", "run", "--from", needs[0], *extra, "mlflow", *words]
    command += ["--host", "127.0.0.1", "--port", str(port)]
    env = os.environ | {
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "DO_NOT_TRACK": "true",
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
    }
    log = folder / "server.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            cwd=folder,
            env=env | more,
            stdout=output,
            stderr=output,
            start_new_session=True,
            preexec_fn=_die_with_parent,
        )
        try:
            _wait(f"http://127.0.0.1:{port}/{ping}", process, log)
            yield f"http://127.0.0.1:{port}"
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)  # uv, the server and its worker
            process.wait()


def _wait(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    until = time.monotonic() + PATIENCE
    while time.monotonic() < until and process.poll() is None:
        with contextlib.suppress(urllib.error.URLError, OSError):
            urllib.request.urlopen(url, timeout=5).close()
            return
        time.sleep(0.2)
    raise RuntimeError(f"MLflow did not start at {url}:\n{log.read_text(errors='replace')[-2000:]}")


def _die_with_parent() -> None:
    ctypes.CDLL("libc.so.6").prctl(1, signal.SIGKILL)  # 1 is PR_SET_PDEATHSIG
