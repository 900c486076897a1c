"""Watch two versions that share the traffic, and say by rule whether the new one may have all of it.

python -m lifecycle.serving.canary OLD_URL NEW_URL SECONDS REQUESTS
Exit code 0: it may; 1: it may not, for the reasons that are printed.
"""

import math
import sys
import time
import urllib.request
from dataclasses import dataclass, field

from prometheus_client.parser import text_string_to_metric_families

POLL = 5  # seconds
ERRORS = 0.01  # more of the requests may not fail than with the old version
SLOWER = (1.5, 0.005)  # times the old version's 95th percentile, and seconds on top
DISTANCE = 0.2  # between the distributions of what the two predict, beyond what chance explains
CHANCE = 1.63  # the Kolmogorov-Smirnov statistic's critical value at 1 %, times sqrt(1/n + 1/m)


@dataclass
class Tally:
    """What one version did: counts, and cumulative counts by upper edge."""

    requests: float = 0
    failed: float = 0
    seconds: dict[float, float] = field(default_factory=dict)
    predictions: dict[float, float] = field(default_factory=dict)
    classes: dict[str, float] = field(default_factory=dict)

    @classmethod
    def parse(cls, text: str) -> "Tally":
        """Read what /metrics gives."""
        tally = cls()
        for family in text_string_to_metric_families(text):
            for name, labels, value, *_ in family.samples:
                if name == "requests_total":
                    tally.requests += value
                    tally.failed += value if labels["status"].startswith("5") else 0
                elif name == "request_seconds_bucket":
                    tally.seconds[float(labels["le"])] = value
                elif name == "prediction_bucket":
                    tally.predictions[float(labels["le"])] = value
                elif name == "predicted_class_total":
                    tally.classes[labels["class"]] = value
        return tally

    def since(self, start: "Tally") -> "Tally":
        """Return what came after start; a server that began anew counts from nothing."""
        if self.requests < start.requests:
            return self
        return Tally(
            self.requests - start.requests,
            self.failed - start.failed,
            _less(self.seconds, start.seconds),
            _less(self.predictions, start.predictions),
            _less(self.classes, start.classes),
        )


def judge(old: Tally, new: Tally) -> list[str]:
    """Return a sentence for each rule that the new version breaks."""
    faults = []
    if _rate(new) > _rate(old) + ERRORS:
        faults.append(f"{_rate(new):.1%} of its requests failed, {_rate(old):.1%} of the old version's")
    bar = quantile(old.seconds, 0.95) * SLOWER[0] + SLOWER[1]
    if (slow := quantile(new.seconds, 0.95)) > bar:
        faults.append(f"its 95th percentile is {slow * 1000:.1f} ms, over the bar of {bar * 1000:.1f} ms")
    gap, rows = distance(old, new)
    if gap > DISTANCE + CHANCE * math.sqrt(sum(1 / n for n in rows if n)):
        faults.append(f"it predicts otherwise on the same traffic: distance {gap:.2f}, over {DISTANCE}")
    return faults


def quantile(cumulative: dict[float, float], share: float) -> float:
    """Return the value that a share of what was counted does not exceed, by lines between the edges."""
    total = max(cumulative.values(), default=0)
    low = below = 0.0
    for edge, count in sorted(cumulative.items()):
        if count >= share * total and count > below:
            return low if math.isinf(edge) else low + (edge - low) * (share * total - below) / (count - below)
        low, below = edge, count
    return low


def distance(old: Tally, new: Tally) -> tuple[float, tuple[float, float]]:
    """Return how far apart two distributions are (0 to 1, at least), and how many rows are in each.

    The Kolmogorov-Smirnov distance of numbers, whose bins may differ; the total variation of classes.
    """
    if old.classes or new.classes:
        rows = sum(old.classes.values()), sum(new.classes.values())
        names = old.classes.keys() | new.classes.keys()
        return sum(abs(_share(old, name) - _share(new, name)) for name in names) / 2, rows
    rows = max(old.predictions.values(), default=0), max(new.predictions.values(), default=0)
    if not all(rows):
        return 0.0, rows
    gap = 0.0
    for edge in old.predictions.keys() | new.predictions.keys():
        (a, b), (c, d) = _bounds(old, edge, rows[0]), _bounds(new, edge, rows[1])
        gap = max(gap, a - d, c - b)
    return gap, rows


def _share(tally: Tally, name: str) -> float:
    return tally.classes.get(name, 0) / (sum(tally.classes.values()) or 1)


def _bounds(tally: Tally, value: float, rows: float) -> tuple[float, float]:
    """Return the least and the largest share of predictions up to a value that the bins allow."""
    low = [count for edge, count in tally.predictions.items() if edge <= value]
    high = [count for edge, count in tally.predictions.items() if edge >= value]
    return max(low, default=0) / rows, min(high) / rows


def _less(now: dict, start: dict) -> dict:
    return {key: value - start.get(key, 0) for key, value in now.items()}


def _rate(tally: Tally) -> float:
    return tally.failed / max(tally.requests, 1)


def _read(url: str) -> Tally:
    with urllib.request.urlopen(f"{url}/metrics", timeout=5) as answer:
        return Tally.parse(answer.read().decode())


def main() -> None:
    urls, seconds, least = sys.argv[1:3], float(sys.argv[3]), float(sys.argv[4])
    deadline = time.monotonic() + seconds
    start = [_read(url) for url in urls]
    while True:
        time.sleep(min(POLL, max(0.0, deadline - time.monotonic())))
        old, new = (_read(url).since(begin) for url, begin in zip(urls, start, strict=True))
        faults = judge(old, new) if new.requests >= least else []
        over = time.monotonic() >= deadline
        for name, tally in (("old", old), ("new", new)):
            p95 = quantile(tally.seconds, 0.95) * 1000
            print(f"  {name}: {tally.requests:.0f} requests, {tally.failed:.0f} failed, p95 {p95:.1f} ms")
        if over and new.requests < least:
            faults = [f"{new.requests:.0f} requests are too few to judge by ({least:.0f})"]
        if faults or over:
            sys.exit("\n".join(faults) or None)


if __name__ == "__main__":
    main()
