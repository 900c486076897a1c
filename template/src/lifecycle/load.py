"""Constant load on a server, what was lost under it, and how long each act took meanwhile."""

import asyncio
import os
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from statistics import median
from typing import Any

import httpx2

PATIENCE = 15.0  # seconds after which a request without an answer is lost
SETTLE = 1.0  # seconds of load before and after each act
HEAD = ("what", "times", "requests", "lost", "took, median", "slowest", "until the switch", "p99")


@dataclass
class Request:
    """version: which one answered; "" if the request was lost."""

    at: float
    seconds: float
    version: str


@dataclass
class Act:
    """switched: seconds until the version before gave its last answer; p99_ms: of all requests meanwhile."""

    name: str
    seconds: float
    switched: float
    requests: int
    lost: int
    p99_ms: float


@dataclass
class Load:
    """So many requests a second, whether or not the ones before were answered."""

    url: str
    row: dict[str, Any]
    rate: float
    done: list[Request] = field(default_factory=list)
    waiting: set[float] = field(default_factory=set)

    async def run(self) -> None:
        """Send until cancelled."""
        headers = {"X-API-Key": os.environ.get("API_KEY", "")}
        client = httpx2.AsyncClient(timeout=PATIENCE, headers=headers)
        async with client, asyncio.TaskGroup() as group:
            due = time.perf_counter()
            while True:
                group.create_task(self._one(client))
                due += 1 / self.rate
                await asyncio.sleep(max(0, due - time.perf_counter()))

    async def _one(self, client: httpx2.AsyncClient) -> None:
        start = time.perf_counter()
        self.waiting.add(start)
        version = ""
        try:
            answer = await client.post(f"{self.url}/predict", json=self.row)
            version = answer.json()["version"] if answer.status_code == 200 else ""
        except (httpx2.HTTPError, ValueError):
            pass  # it counts as lost
        self.waiting.remove(start)
        self.done.append(Request(start, time.perf_counter() - start, version))

    async def during(self, name: str, do: Callable[[], Awaitable[None]]) -> Act:
        """Do something, and tell what became of the requests before, meanwhile and after."""
        first = time.perf_counter()
        await asyncio.sleep(SETTLE)
        before = self.done[-1].version
        start = time.perf_counter()
        await do()
        end = time.perf_counter()
        await asyncio.sleep(SETTLE)
        last = time.perf_counter()
        while min(self.waiting, default=last) < last:
            await asyncio.sleep(0.1)
        seen = [request for request in self.done if first <= request.at < last]
        old = [request.at for request in seen if request.at > start and request.version == before]
        latencies = sorted(request.seconds for request in seen)
        p99 = latencies[int(0.99 * (len(latencies) - 1))] * 1000
        lost = sum(not request.version for request in seen)
        act = Act(name, end - start, max(old, default=start) - start, len(seen), lost, p99)
        print(f"  {name:16} {act.seconds:5.1f} s  {act.requests:5} requests  {lost} lost", flush=True)
        return act


def table(acts: list[Act]) -> str:
    """Return a Markdown table, a line for each name."""
    lines = [f"| {' | '.join(HEAD)} |", "| --- |" + " ---: |" * (len(HEAD) - 1)]
    for name in dict.fromkeys(act.name for act in acts):
        same = [act for act in acts if act.name == name]
        took = [act.seconds for act in same]
        cells = (
            name,
            len(same),
            f"{sum(act.requests for act in same):,}",
            sum(act.lost for act in same),
            f"{median(took):.1f} s",
            f"{max(took):.1f} s",
            f"{median(act.switched for act in same):.1f} s" if name in ("release", "rollback") else "",
            f"{max(act.p99_ms for act in same):.0f} ms",
        )
        lines.append(f"| {' | '.join(map(str, cells))} |")
    return "\n".join(lines)
