"""Compare two versions that share the traffic, and judge by one rule whether the new one may have all of it.

python -m lifecycle.deploy.canary OLD NEW SECONDS REQUESTS
OLD and NEW are addresses, watched for SECONDS, or folders: POD.now holds what a pod's /metrics says, and
POD.start what it said when the canary began. Exit code 0: it may; 5: it is worse; 3: NEW had fewer requests
than REQUESTS; 1: they cannot be compared.
"""

import math
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

from prometheus_client.parser import text_string_to_metric_families as families

from ..errors import INSUFFICIENT_DATA, GateRejected, LifecycleError
from ..http import send

POLL = 5  # seconds
ERRORS = 0.01  # more of the requests may not fail, or be refused, than with the old version
SLOWER = (1.5, 0.005)  # times the old version's 95th percentile, and seconds on top
DISTANCE = 0.2  # between the distributions of what the two predict, beyond what chance explains
CHANCE = 1.63  # the Kolmogorov-Smirnov statistic's critical value at 1 %, times sqrt(1/n + 1/m)
NORMAL = 2.33  # the standard normal distribution's one-sided critical value at 1 %
REQUESTS, CLASSES = "requests_total", "predicted_class_total"  # counts
SECONDS, PREDICTIONS = "request_seconds_bucket", "prediction_bucket"  # cumulative counts by upper edge
LABELS = {REQUESTS: "status", CLASSES: "class", SECONDS: "le", PREDICTIONS: "le"}
Tally = dict[str, Any]  # what one version did: for each metric of LABELS, a count for each label


def parse(*texts: str) -> Tally:
    """Read what /metrics gives, and add up what several servers give."""
    tally: Tally = {metric: Counter() for metric in LABELS}
    samples = (sample for text in texts for family in families(text) for sample in family.samples)
    for name, labels, value, *_ in samples:
        if label := LABELS.get(name):
            tally[name][float(labels[label]) if label == "le" else labels[label]] += value
    return tally


def since(tally: Tally, start: Tally) -> Tally:
    """Return what came after start; a server that began anew counts from nothing."""
    if tally[REQUESTS].total() < start[REQUESTS].total():
        return tally
    return {name: Counter({key: now[key] - start[name][key] for key in now}) for name, now in tally.items()}


def share(tally: Tally, status: str, least: float = 1) -> float:
    """Return the share of requests whose status begins so, of `least` requests at least."""
    found = sum(count for code, count in tally[REQUESTS].items() if code.startswith(status))
    return found / max(tally[REQUESTS].total(), least, 1)


def judge(old: Tally, new: Tally, least: float = 0) -> list[str]:
    """Return a sentence for each rule that the new version breaks.

    least: requests, below which it is judged by its failures alone, as if all others were to succeed.
    """
    faults = []
    if (failed := share(new, "5", least)) > share(old, "5") + ERRORS:
        faults.append(f"{failed:.1%} of its requests failed, {share(old, '5'):.1%} of the old version's")
    n, m = new[REQUESTS].total(), old[REQUESTS].total()
    if n < least or not n or not m:
        return faults
    refused, before = share(new, "422"), share(old, "422")
    both = (refused * n + before * m) / (n + m)
    if refused > before + ERRORS + NORMAL * math.sqrt(both * (1 - both) * (1 / n + 1 / m)):
        faults.append(f"{refused:.1%} of its requests are refused (422), {before:.1%} of the old version's")
    limit = quantile(old[SECONDS], 0.95) * SLOWER[0] + SLOWER[1]
    if (slow := quantile(new[SECONDS], 0.95)) > limit:
        faults.append(f"its 95th percentile is {slow * 1000:.1f} ms, over the limit of {limit * 1000:.1f} ms")
    gap, rows = distance(old, new)
    if gap > DISTANCE + CHANCE * math.sqrt(sum(1 / n for n in rows if n)):
        faults.append(f"it predicts otherwise on the same traffic: distance {gap:.2f}, over {DISTANCE}")
    return faults


def quantile(cumulative: Counter, share: float) -> float:
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
    if names := old[CLASSES] | new[CLASSES]:
        a, b = old[CLASSES].total(), new[CLASSES].total()
        gaps = (abs(old[CLASSES][name] / (a or 1) - new[CLASSES][name] / (b or 1)) for name in names)
        return sum(gaps) / 2, (a, b)
    a, b = (max(tally[PREDICTIONS].values(), default=0) for tally in (old, new))
    gap = 0.0
    for edge in old[PREDICTIONS] | new[PREDICTIONS] if a and b else ():
        (low, high), (lower, higher) = _bounds(old[PREDICTIONS], edge, a), _bounds(new[PREDICTIONS], edge, b)
        gap = max(gap, low - higher, lower - high)
    return gap, (a, b)


def _bounds(cumulative: Counter, value: float, rows: float) -> tuple[float, float]:
    """Return the least and the largest share of predictions up to a value that the bins allow."""
    low = max((count for edge, count in cumulative.items() if edge <= value), default=0)
    return low / rows, min(count for edge, count in cumulative.items() if edge >= value) / rows


def read(place: str, when: str = "now") -> Tally:
    """Return what a server, or all pods of a folder, have counted. Raises LifecycleError."""
    if "://" in place:
        return parse(send(f"{place}/metrics").body.decode())
    pods = [path.with_suffix(f".{when}") for path in Path(place).glob("*.now")]  # others are gone
    if not pods:
        raise LifecycleError(f"there are no metrics of a pod in {place}")
    return parse(*(path.read_text(encoding="utf-8") for path in pods if path.exists()))


def watch(places: list[str], seconds: float, least: float) -> tuple[int, list[str]]:
    """Compare until the time is over or a rule is broken; return the exit code and the reasons for it."""
    deadline = time.monotonic() + seconds
    start = [read(place, "start") for place in places]
    while True:
        time.sleep(min(POLL, max(0.0, deadline - time.monotonic())))
        over = time.monotonic() >= deadline
        old, new = (since(read(place), begin) for place, begin in zip(places, start, strict=True))
        for name, tally in (("old", old), ("new", new)):
            count, p95 = tally[REQUESTS].total(), quantile(tally[SECONDS], 0.95) * 1000
            print(f"  {name}: {count:.0f} requests, {share(tally, '5') * count:.0f} failed, p95 {p95:.1f} ms")
        if faults := judge(old, new, least):
            return GateRejected.exit_code, faults
        if over and count < least:
            return INSUFFICIENT_DATA, [f"{count:.0f} requests are too few to judge by ({least:.0f})"]
        if over:
            return 0, []


def main() -> None:
    try:
        code, reasons = watch(sys.argv[1:3], float(sys.argv[3]), float(sys.argv[4]))
    except LifecycleError as error:
        code, reasons = error.exit_code, [str(error)]
    print(*reasons, sep="\n", file=sys.stderr)
    sys.exit(code)


if __name__ == "__main__":
    main()
