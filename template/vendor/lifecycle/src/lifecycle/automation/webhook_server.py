"""The server for webhooks (Alertmanager, S3 events, anything: see webhooks.py) and for Prometheus.

A webhook is a POST to http://HOST:PORT/ with the header `Authorization: Bearer $LIFECYCLE_LISTEN_TOKEN`.
GET /metrics, with the same header, gives Prometheus what is known of the loop.
"""

import asyncio
import hmac
import os
from collections.abc import Awaitable, Callable

from fastapi import FastAPI, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import JSONResponse
from prometheus_client import CollectorRegistry, Gauge, generate_latest

from ..errors import LifecycleError, SettingsError
from ..project import Project
from ..state.store import open_state
from .checks import recorded
from .retraining import Note
from .triggers import CRON, TABLE
from .webhooks import answer

TOKEN, SHORTEST = "LIFECYCLE_LISTEN_TOKEN", 16  # characters of a token
LARGEST = 1_000_000  # bytes of a payload
SECONDS = 10  # that a client may take to send one
VERDICTS = ("no drift", "drift", "insufficient data", "broken data")


def create_app(project: Project) -> FastAPI:
    """Return the server's app. Raises SettingsError if the token, or what starts a retraining, is not set."""
    token = os.environ.get(TOKEN, "")
    if len(token) < SHORTEST:
        raise SettingsError(f"{TOKEN} is not set, or is short", f"{TOKEN}=$(openssl rand -hex 32)")
    if not (project.root / CRON).is_file() and not os.environ.get("TRIGGER"):
        raise SettingsError("TRIGGER is not set", TABLE)
    app = FastAPI(openapi_url=None)

    @app.middleware("http")
    async def authorized(request: Request, call_next: Callable[[Request], Awaitable[Response]]) -> Response:
        given = request.headers.get("Authorization", "").encode()
        if hmac.compare_digest(given, f"Bearer {token}".encode()):
            return await call_next(request)
        return JSONResponse({"error": "the header Authorization: Bearer … is missing or wrong"}, 401)

    @app.post("/")
    async def webhook(request: Request) -> JSONResponse:
        size = request.headers.get("Content-Length", "")
        if not size.isdecimal() or len(size) > len(str(LARGEST)) or int(size) > LARGEST:
            text = f"Content-Length is needed, of at most {LARGEST} bytes"
            return JSONResponse({"error": text}, 413, {"Connection": "close"})
        try:
            body = await asyncio.wait_for(request.body(), SECONDS)
        except TimeoutError:
            return JSONResponse({"error": f"the body did not come within {SECONDS} s"}, 408)
        status, said = await run_in_threadpool(answer, project, body)
        return JSONResponse(said, status)

    @app.get("/metrics")
    def metrics() -> Response:
        try:
            return Response(exposition(project), media_type="text/plain")
        except LifecycleError as error:
            return JSONResponse({"error": str(error)}, 503)

    return app


def exposition(project: Project) -> bytes:
    """Return the metrics. Raises RegistryError if the state cannot be read: they are never old ones."""
    state, metrics = open_state(project), CollectorRegistry()

    def gauge(name: str, about: str, *labels: str) -> Gauge:
        return Gauge(name, about, labels, registry=metrics)

    checks, _ = recorded(state)
    if last := next((check for check in reversed(checks) if check.drift), None):
        gauge("lifecycle_check_seconds", "When production was last checked").set(last.at)
        verdict = gauge("lifecycle_verdict", "1: of that check", "verdict", "version")
        for word in VERDICTS:
            verdict.labels(word, last.version).set(word == last.drift)
        ks = gauge("lifecycle_feature_ks", "KS distance from training", "feature")
        for name, value in last.ks.items():
            ks.labels(name).set(value)
    retraining, _ = Note.read(state)
    if retraining.ended:
        gauge("lifecycle_retraining_ended_seconds", "When the last retraining ended").set(retraining.ended)
        gauge("lifecycle_retraining_exit_code", "How it ended").set(retraining.code)
    return generate_latest(metrics)
