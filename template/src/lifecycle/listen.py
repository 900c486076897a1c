"""Webhooks of others that ask for retraining or a rollback: Alertmanager, S3 events, anything.

Of Alertmanager's alerts the label `action` says what is wanted: "roll back" (errors or latency are worse:
done only not long after a release, see monitoring/policy.py), "none", or else retraining.
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
from .errors import Busy, LifecycleError, SettingsError
from .monitoring.alerts import alert
from .monitoring.policy import HELD_BACK, RETRAIN, ROLL_BACK
from .react import service_worse
from .retraining import cooldown

CRON = Path("orchestration/cron.sh")
TOKEN = "LIFECYCLE_LISTEN_TOKEN"
SHORTEST = 16  # of a token
LARGEST = 1_000_000  # bytes of a payload
SHAPES = 'send {"reason": "…"}, or what Alertmanager or S3 sends'
ONE_AT_A_TIME = threading.Lock()


def start(reason: str) -> None:
    """Start retraining where this project does: by cron's script, or where TRIGGER says (triggers.py)."""
    if CRON.is_file():
        quiet = {"stdout": subprocess.DEVNULL, "start_new_session": True}
        subprocess.Popen([CRON.absolute(), "retrain", reason], **quiet)
    else:
        triggers = import_module(".triggers", __package__)
        triggers.start(reason, lambda: os.environ.get("TRIGGER_TOKEN", ""))


def asked(payload: Any) -> tuple[str, str]:
    """Return what is asked for ("retrain", "roll back" or "") and why; LifecycleError on other shapes."""
    match payload:
        case {"alerts": list(alerts)}:
            firing = [item["labels"] for item in alerts if item["status"] == "firing"]
            for kind in (ROLL_BACK, RETRAIN):
                names = {labels["alertname"] for labels in firing if labels.get("action", RETRAIN) == kind}
                if names:
                    return kind, f"alert: {', '.join(sorted(names))}"
            return "", ""
        case {"Records": list(records)}:
            made = [item["s3"]["object"]["key"] for item in records if "ObjectCreated:" in item["eventName"]]
            return (RETRAIN, f"new data: {', '.join(made[:3])}") if made else ("", "")
        case {"reason": str(reason)} if reason.strip():
            return RETRAIN, reason.strip()[:500]
    raise LifecycleError("a payload of another shape", SHAPES)


def answer(body: bytes) -> tuple[int, dict[str, str]]:
    """Return the status and the answer; what was asked for was done if it was time."""
    try:
        what, reason = asked(json.loads(body))
    except (ValueError, KeyError, TypeError, LifecycleError):
        return 400, {"error": SHAPES}
    if not what:
        return 200, {"ignored": "nothing fires, nothing was created"}
    try:
        with ONE_AT_A_TIME:
            return roll_back(reason) if what == ROLL_BACK else retrain(reason)
    except Busy as error:
        errors.failed(str(error))
        return 200, {"dropped": str(error)}
    except (LifecycleError, OSError) as error:
        alert(f"{what} ({reason}) could not be done: {error}", severity="error")
        return 503, {"error": "it could not be done: see the log of lifecycle listen"}


def retrain(reason: str) -> tuple[int, dict[str, str]]:
    with cooldown(reason):
        start(reason)
    errors.done(f"started: {reason}")
    return 202, {"started": reason}


def roll_back(reason: str) -> tuple[int, dict[str, str]]:
    """Let the policy decide: it rolls back only not long after a release, and never in maintenance."""
    action = service_worse(reason)
    errors.done(f"{action.do}: {action.why}")
    return 200 if action.do == HELD_BACK else 202, {"done": action.do}


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
