"""A server for webhooks (Alertmanager, S3 events, anything: see webhooks.py) and for Prometheus.

A webhook is a POST to http://HOST:PORT/ with the header `Authorization: Bearer $LIFECYCLE_LISTEN_TOKEN`.
GET /metrics, with the same header, gives Prometheus what is known of the loop.
"""

import hmac
import json
import os
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import click
from prometheus_client import CollectorRegistry, Gauge, generate_latest

from . import errors
from .errors import LifecycleError, SettingsError
from .live import EXIT
from .react import recorded
from .registry.contract import open_registry
from .retraining import NOTE
from .webhooks import CRON, answer

TOKEN = "LIFECYCLE_LISTEN_TOKEN"
SHORTEST = 16  # of a token
LARGEST = 1_000_000  # bytes of a payload
VERDICTS = (*EXIT, "broken data")


def exposition() -> bytes:
    """Return the metrics; RegistryError if the store does not answer, so that they are never old ones."""
    store, metrics = open_registry(), CollectorRegistry()
    checks, _ = recorded(store)
    if looked := [check for check in checks if check.drift]:
        last = looked[-1]
        _gauge(metrics, "lifecycle_check_seconds", "When production was last looked at", last.at)
        verdict = Gauge("lifecycle_verdict", "1: of that look", ["verdict", "version"], registry=metrics)
        for word in VERDICTS:
            verdict.labels(word, last.version).set(word == last.drift)
        ks = Gauge("lifecycle_feature_ks", "KS distance from training", ["feature"], registry=metrics)
        for name, value in last.ks.items():
            ks.labels(name).set(value)
    retraining = json.loads(store.note(NOTE)[0] or "{}")
    if retraining.get("ended"):
        about = "When the last retraining ended"
        _gauge(metrics, "lifecycle_retraining_ended_seconds", about, retraining["ended"])
        _gauge(metrics, "lifecycle_retraining_exit_code", "How it ended", retraining["code"])
    return generate_latest(metrics)


def _gauge(metrics: CollectorRegistry, name: str, about: str, value: float) -> None:
    Gauge(name, about, registry=metrics).set(value)


class Handler(BaseHTTPRequestHandler):
    """Takes POST with the token."""

    timeout = 10  # seconds that a client may take

    def do_GET(self) -> None:
        if not self._may():
            return
        if self.path != "/metrics":
            self._say(404, {"error": "GET /metrics, or POST /"})
            return
        try:
            self._send(200, exposition())
        except LifecycleError as error:
            self._say(503, {"error": str(error)})

    def _may(self) -> bool:
        given = self.headers.get("Authorization", "").encode()
        if right := hmac.compare_digest(given, f"Bearer {os.environ[TOKEN]}".encode()):
            return right
        self._say(401, {"error": "the header Authorization: Bearer … is missing or wrong"})
        return False

    def do_POST(self) -> None:
        size = self.headers.get("Content-Length", "")
        if not self._may():
            return
        if not size.isdecimal() or int(size) > LARGEST:
            self._say(413, {"error": f"Content-Length is needed, of at most {LARGEST} bytes"})
        else:
            self._say(*answer(self.rfile.read(int(size))))

    def _say(self, status: int, said: dict[str, str]) -> None:
        self._send(status, json.dumps(said).encode())

    def _send(self, status: int, data: bytes) -> None:
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
