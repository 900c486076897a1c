"""What stands around the app: the API key, the limit on a body's size, and the meters for /metrics."""

import asyncio
import secrets
import time

import numpy as np
from fastapi import HTTPException
from fastapi.responses import JSONResponse
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ..monitoring.profile import PREDICTION, Profile
from .request_schema import TOO_LARGE, WRONG_KEY

BODY_SECONDS = 30.0  # that a client may take to send a body
LATE = "the body did not come within {:g} s"
LATENCIES = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0)  # seconds


class Meters:
    """Prometheus metrics of one server process."""

    def __init__(self, version: str, profile: Profile) -> None:
        self.registry = to = CollectorRegistry()
        self.requests = Counter("requests", "Requests to /predict by status", ["status"], registry=to)
        self.seconds = Histogram("request_seconds", "Time in /predict", buckets=LATENCIES, registry=to)
        self.rejected = Counter(
            "rejected_rows", "Rows that broke the schema, by field", ["field"], registry=to
        )
        Gauge("model_info", "The version served", ["version"], registry=to).labels(version).set(1)
        self._rows = Counter("predicted_rows", "Rows predicted", registry=to)
        self._classes = [str(label) for label in profile.classes]
        about = "What was predicted"
        if self._classes:
            self._by_class = Counter("predicted_class", about, ["class"], registry=to)
        else:  # in the bins that training chose
            edges = profile.features[PREDICTION]["edges"]
            self._by_number = Histogram("prediction", about, buckets=edges, registry=to)

    def predicted(self, output: np.ndarray) -> None:
        """Count predictions: [rows] numbers, or [rows, classes] probabilities."""
        self._rows.inc(len(output))
        if not self._classes:
            for value in output.tolist():
                self._by_number.observe(value)
            return
        for place, count in enumerate(np.bincount(output.argmax(axis=1)).tolist()):
            self._by_class.labels(self._classes[place]).inc(count)


class Guard:
    """Counts and times each request to /predict; answers 401, 408, 413: a wrong key, a slow or a large body.

    Without the key nothing of a body is read; with it no more than the limit, announced or not: a client
    cannot fill the server's memory. A crash is counted as the answer 500 that the server gives to it.
    """

    def __init__(self, app: ASGIApp, limit: int, key: bytes, meters: Meters) -> None:
        self._app, self._limit, self._key, self._meters = app, limit, key, meters

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] != "/predict":
            return await self._app(scope, receive, send)
        start, read, whole, headers = time.perf_counter(), 0, False, dict(scope["headers"])
        announced = headers.get(b"content-length", b"")
        large = announced.isdigit() and int(announced) > self._limit
        status = 500  # what Starlette answers, outside of this, when the app raises

        async def limited() -> Message:
            nonlocal read, whole
            if whole:
                return await receive()  # that the client is gone
            try:
                async with asyncio.timeout(start + BODY_SECONDS - time.perf_counter()):
                    message: Message = {} if large else await receive()
            except TimeoutError:
                raise HTTPException(408, LATE.format(BODY_SECONDS), {"connection": "close"}) from None
            read, whole = read + len(message.get("body", b"")), not message.get("more_body", False)
            if large or read > self._limit:
                raise HTTPException(413, TOO_LARGE.format(self._limit), {"connection": "close"})
            return message

        async def noted(message: Message) -> None:
            nonlocal status
            status = message.get("status", status)
            await send(message)

        app = self._app
        if self._key and not secrets.compare_digest(headers.get(b"x-api-key", b""), self._key):
            app = JSONResponse({"detail": WRONG_KEY}, 401, {"connection": "close"})
        try:
            await app(scope, limited, noted)
        finally:
            self._meters.requests.labels(status).inc()
            self._meters.seconds.observe(time.perf_counter() - start)
