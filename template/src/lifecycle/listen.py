"""What asks for retraining: new data, drift, and webhooks of others (Alertmanager, S3 events, anything).

A webhook is a POST to http://HOST:PORT/ with the header `Authorization: Bearer $LIFECYCLE_LISTEN_TOKEN`.
"""

import hmac
import json
import os
import subprocess
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib import import_module
from pathlib import Path
from typing import Any

import click

from . import errors
from .errors import DRIFT, Busy, DataError, LifecycleError, SettingsError, alert
from .live import EXIT, look
from .registry.contract import PRODUCTION, open_registry
from .retraining import cooldown

CRON = Path("orchestration/cron.sh")
TOKEN = "LIFECYCLE_LISTEN_TOKEN"
SHORTEST = 16  # of a token
LARGEST = 1_000_000  # bytes of a payload
SHAPES = 'send {"reason": "…"}, or what Alertmanager or S3 sends'
ONE_AT_A_TIME = threading.Lock()


@click.command()
def due() -> None:
    """Tell whether to retrain. Exit code 2 and the reason: yes, start it; 75: yes, but not so soon.

    Otherwise as `lifecycle drift`: 0 no, 3 insufficient data, 4 broken data, which never retrains.
    """
    reason, code = new_data(), 0
    if not reason and PRODUCTION in open_registry().aliases():
        verdict, version = look()
        reason = f"drift: {verdict.why}" if verdict.verdict == "drift" else ""
        code = EXIT.get(verdict.verdict, DataError.exit_code)
        if not reason:
            click.echo(f"{verdict.verdict}: {verdict.why}")
        if verdict.verdict == "broken data":
            alert(f"{version} is asked with broken data: {verdict.why}")
    if reason:
        with cooldown(reason):
            click.echo(reason)
        code = DRIFT
    raise SystemExit(code)


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


def start(reason: str) -> None:
    """Start retraining where this project does: by cron's script, or where TRIGGER says (triggers.py)."""
    if CRON.is_file():
        quiet = {"stdout": subprocess.DEVNULL, "start_new_session": True}
        subprocess.Popen([CRON.absolute(), "retrain", reason], **quiet)
    else:
        triggers = import_module(".triggers", __package__)
        triggers.start(reason, lambda: os.environ.get("TRIGGER_TOKEN", ""))


def reason_of(payload: Any) -> str:
    """Return why a payload asks for retraining; "" if it does not; LifecycleError on other shapes."""
    match payload:
        case {"alerts": list(alerts)}:
            firing = [item["labels"]["alertname"] for item in alerts if item["status"] == "firing"]
            return f"alert: {', '.join(sorted(set(firing)))}" if firing else ""
        case {"Records": list(records)}:
            made = [item["s3"]["object"]["key"] for item in records if "ObjectCreated:" in item["eventName"]]
            return f"new data: {', '.join(made[:3])}" if made else ""
        case {"reason": str(reason)} if reason.strip():
            return reason.strip()[:500]
    raise LifecycleError("a payload of another shape", SHAPES)


def answer(body: bytes) -> tuple[int, dict[str, str]]:
    """Return the status and the answer; retraining was started if it was time."""
    try:
        reason = reason_of(json.loads(body))
    except (ValueError, KeyError, TypeError, LifecycleError):
        return 400, {"error": SHAPES}
    if not reason:
        return 200, {"ignored": "nothing fires, nothing was created"}
    try:
        with ONE_AT_A_TIME, cooldown(reason):
            start(reason)
    except Busy as error:
        errors.failed(str(error))
        return 200, {"dropped": str(error)}
    except (LifecycleError, OSError) as error:
        alert(f"retraining ({reason}) could not be started: {error}")
        return 503, {"error": "it could not be started: see the log of lifecycle listen"}
    errors.done(f"started: {reason}")
    return 202, {"started": reason}


class Handler(BaseHTTPRequestHandler):
    """Takes POST with the token."""

    timeout = 10  # seconds that a client may take

    def do_POST(self) -> None:
        given = self.headers.get("Authorization", "").encode()
        size = self.headers.get("Content-Length", "")
        if not hmac.compare_digest(given, f"Bearer {os.environ[TOKEN]}".encode()):
            self._say(401, {"error": "the header Authorization: Bearer … is missing or wrong"})
        elif not size.isdecimal() or int(size) > LARGEST:
            self._say(413, {"error": f"Content-Length is needed, of at most {LARGEST} bytes"})
        else:
            self._say(*answer(self.rfile.read(int(size))))

    def _say(self, status: int, said: dict[str, str]) -> None:
        data = json.dumps(said).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True)
@click.option("--port", default=8100, show_default=True)
def listen(host: str, port: int) -> None:
    """Take webhooks that ask for retraining; the token is in LIFECYCLE_LISTEN_TOKEN."""
    if len(os.environ.get(TOKEN, "")) < SHORTEST:
        raise SettingsError(f"{TOKEN} is not set, or is short", f"{TOKEN}=$(openssl rand -hex 32)")
    if not CRON.is_file() and not os.environ.get("TRIGGER"):
        raise SettingsError("TRIGGER is not set", "see the table in src/lifecycle/triggers.py")
    errors.done(f"listening on http://{host}:{port}; Ctrl-C ends it")
    ThreadingHTTPServer((host, port), Handler).serve_forever()
