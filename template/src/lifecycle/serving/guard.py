"""What stands around the app: the limit on a body's size, and the meters for /metrics."""

import json
import time

import numpy as np
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ..monitoring.profile import PREDICTION, Profile
from .request import TOO_LARGE

LATENCIES = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0)


class Meters:
    """Prometheus metrics of one server process."""

    def __init__(self, version: str, profile: Profile) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter(
            "requests", "Requests to /predict by status", ["status"], registry=self.registry
        )
        self.seconds = Histogram(
            "request_seconds", "Time in /predict", buckets=LATENCIES, registry=self.registry
        )
        self.rows = Counter("predicted_rows", "Rows predicted", registry=self.registry)
        self.rejected = Counter(
            "rejected_rows",
            "Rows that broke the schema, by field",
            ["field"],
            registry=self.registry,
        )
        self.predictions = Predictions(profile, self.registry)
        gauge = Gauge("model_info", "The version served", ["version"], registry=self.registry)
        gauge.labels(version).set(1)


class Predictions:
    """What was predicted: a number in the bins that training chose, or a class."""

    def __init__(self, profile: Profile, registry: CollectorRegistry) -> None:
        self._classes = [str(label) for label in profile.classes]
        about = "What was predicted"
        if self._classes:
            self._by_class = Counter("predicted_class", about, ["class"], registry=registry)
        else:
            edges = profile.features[PREDICTION]["edges"]
            self._by_number = Histogram("prediction", about, buckets=edges, registry=registry)

    def add(self, output: np.ndarray) -> None:
        """Count predictions: [rows] numbers, or [rows, classes] probabilities."""
        if not self._classes:
            for value in output.tolist():
                self._by_number.observe(value)
            return
        for place, count in enumerate(np.bincount(output.argmax(axis=1)).tolist()):
            self._by_class.labels(self._classes[place]).inc(count)


class Guard:
    """Count and time each request to /predict, and answer 413 to a body over the limit.

    No more than the limit is read, announced or not: a client cannot fill the server's memory.
    """

    def __init__(self, app: ASGIApp, limit: int, meters: Meters) -> None:
        self._app = app
        self._limit = limit
        self._meters = meters

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] != "/predict":
            return await self._app(scope, receive, send)
        start = time.perf_counter()

        async def counted(message: Message) -> None:
            if message["type"] == "http.response.start":
                self._meters.requests.labels(message["status"]).inc()
            await send(message)

        await self._within_limit(scope, receive, counted)
        self._meters.seconds.observe(time.perf_counter() - start)

    async def _within_limit(self, scope: Scope, receive: Receive, send: Send) -> None:
        announced = dict(scope["headers"]).get(b"content-length", b"0")
        body, seen, more = [], int(announced) if announced.isdigit() else 0, True
        while more and seen <= self._limit:
            message = await receive()
            if message["type"] == "http.disconnect":
                return
            body.append(message.get("body", b""))
            seen = max(seen, sum(map(len, body)))
            more = message.get("more_body", False)
        if seen > self._limit:
            return await self._refuse(send)
        whole: list[Message] = [{"type": "http.request", "body": b"".join(body)}]

        async def replay() -> Message:
            return whole.pop() if whole else await receive()

        await self._app(scope, replay, send)

    async def _refuse(self, send: Send) -> None:
        body = json.dumps({"detail": TOO_LARGE.format(self._limit)}).encode()
        headers = [(b"content-type", b"application/json"), (b"connection", b"close")]
        await send({"type": "http.response.start", "status": 413, "headers": headers})
        await send({"type": "http.response.body", "body": body})
