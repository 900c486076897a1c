"""A constant load on a server, and what happened to the requests while something else was done."""

import os
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass, field
from statistics import median
from typing import Any

from ..errors import LifecycleError
from ..http import send

PATIENCE = 15.0  # seconds after which a request without an answer is lost
CONNECTIONS = 100  # at once, as clients have them; further requests wait for one
SETTLE = 1.0  # seconds of load before and after each act
HEAD = ("what", "times", "requests", "lost", "took, median", "slowest", "until the switch", "p99")


@dataclass
class Request:
    at: float
    seconds: float
    version: str  # which one answered; "" if the request was lost
    failure: str  # why it was lost


@dataclass
class Act:
    """What happened during one step."""

    name: str
    seconds: float
    switched: float  # seconds until the version before gave its last answer
    requests: int
    lost: int
    failures: dict[str, int]  # why requests were lost, and how often
    p99_ms: float  # of all requests meanwhile


@dataclass
class Load:
    """Sends `rate` requests a second, whether or not the ones before were answered."""

    url: str
    row: dict[str, Any]
    rate: float
    done: list[Request] = field(default_factory=list)
    sent: list[Future[None]] = field(default_factory=list)

    @contextmanager
    def running(self) -> Iterator[None]:
        """Send from other threads until the block ends."""
        over = threading.Event()

        def send_until_over() -> None:
            due = time.perf_counter()
            while not over.wait(max(0, due - time.perf_counter())):
                self.sent.append(pool.submit(self._one, time.perf_counter()))
                due += 1 / self.rate

        with ThreadPoolExecutor(CONNECTIONS + 1) as pool:
            sender = pool.submit(send_until_over)
            try:
                yield
            finally:
                over.set()
                sender.result()

    def _one(self, start: float) -> None:
        headers, version, failure = {"X-API-Key": os.environ.get("API_KEY", "")}, "", ""
        try:
            left = max(0.001, start + PATIENCE - time.perf_counter())
            answer = send(f"{self.url}/predict", self.row, headers, seconds=left)
            version = answer.json()["version"] if answer.status == 200 else ""
            failure = "" if version else f"status {answer.status}"
        except (LifecycleError, ValueError) as error:
            failure = str(error)
        self.done.append(Request(start, time.perf_counter() - start, version, failure))

    def during(self, name: str, act: Callable[[], Any]) -> Act:
        """Call `act`, and return what happened to the requests shortly before, meanwhile and after."""
        first = time.perf_counter()
        time.sleep(SETTLE)
        before, start = self.done[-1].version, time.perf_counter()
        act()
        end = time.perf_counter()
        time.sleep(SETTLE)
        last = time.perf_counter()
        wait(self.sent[:])
        sent = [request for request in self.done if first <= request.at < last]
        old = [request.at for request in sent if request.at > start and request.version == before]
        latencies = sorted(request.seconds for request in sent)
        p99 = latencies[int(0.99 * (len(latencies) - 1))] * 1000
        failures = Counter(request.failure for request in sent if not request.version)
        switched = max(old, default=start) - start
        return Act(name, end - start, switched, len(sent), failures.total(), dict(failures), p99)


def table(acts: list[Act]) -> str:
    """Return a Markdown table, a line for each name."""
    lines = [f"| {' | '.join(HEAD)} |", "| --- |" + " ---: |" * (len(HEAD) - 1)]
    for name in dict.fromkeys(act.name for act in acts):
        same = [act for act in acts if act.name == name]
        took = [act.seconds for act in same]
        switched = f"{median(act.switched for act in same):.1f} s" if name in ("release", "rollback") else ""
        counts = len(same), f"{sum(act.requests for act in same):,}", sum(act.lost for act in same)
        times = f"{median(took):.1f} s", f"{max(took):.1f} s", switched
        cells = (name, *counts, *times, f"{max(act.p99_ms for act in same):.0f} ms")
        lines.append(f"| {' | '.join(map(str, cells))} |")
    return "\n".join(lines)
