"""The rule by which a canary gets all of the traffic, or none: the same on Docker and on Kubernetes."""

import math
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from lifecycle.deploy import canary
from lifecycle.deploy.canary import (
    CLASSES,
    PREDICTIONS,
    REQUESTS,
    SECONDS,
    Tally,
    distance,
    judge,
    parse,
    quantile,
    read,
    share,
    since,
)
from lifecycle.errors import LifecycleError
from lifecycle.monitoring.profile import PREDICTION, Profile
from lifecycle.serving.telemetry import Meters
from prometheus_client import generate_latest

FAST = Counter({0.001: 500.0, 0.005: 950.0, 0.01: 990.0, math.inf: 1000.0})
SLOW = Counter({0.005: 10.0, 0.1: 990.0, math.inf: 1000.0})


def of(
    statuses: dict, seconds: dict | None = None, predictions: dict | None = None, classes: dict | None = None
) -> Tally:
    return {
        REQUESTS: Counter(statuses),
        SECONDS: Counter(seconds or {}),
        PREDICTIONS: Counter(predictions or {}),
        CLASSES: Counter(classes or {}),
    }


def tally(
    failed: int = 0,
    refused: int = 0,
    seconds: Counter = FAST,
    shift: float = 0.0,
    bins: int = 20,
    requests: int = 1000,
) -> Tally:
    """Requests whose predictions are normal, in bins of their own as every version has them."""
    drawn = np.random.default_rng(bins).normal(shift, 1, 1000)
    edges = np.quantile(np.random.default_rng(1).normal(shift, 1, 5000), np.linspace(0, 1, bins + 1)[1:-1])
    predictions = Counter({float(edge): float((drawn <= edge).sum()) for edge in edges} | {math.inf: 1000.0})
    return of({"200": requests - failed - refused, "500": failed, "422": refused}, seconds, predictions)


def test_a_version_as_good_as_the_old_one_may_have_it_all() -> None:
    assert judge(tally(failed=2, refused=30), tally(failed=8, refused=40, bins=33), 500) == []


@pytest.mark.parametrize(
    ("new", "says"),
    [
        (tally(failed=40), "4.0% of its requests failed, 0.0% of the old version's"),
        (tally(refused=40), "4.0% of its requests are refused (422), 0.0% of the old version's"),
        (tally(seconds=SLOW), "its 95th percentile is 96.1 ms, over"),
        (tally(shift=1.0), "it predicts otherwise on the same traffic: distance 0.3"),
    ],
)
def test_each_rule_rejects(new: Tally, says: str) -> None:
    (fault,) = judge(tally(), new)
    assert says in fault


def test_few_requests_need_a_larger_difference() -> None:
    few = of({"200": 20}, FAST, {0.0: 14.0, math.inf: 20.0})
    gap, rows = distance(tally(), few)
    assert 0.1 < gap < 0.2 and rows == (1000, 20)
    assert judge(tally(), few) == []
    few[REQUESTS] = Counter({"200": 18, "422": 2})
    assert judge(tally(refused=50), few) == [], "a tenth instead of a twentieth, of twenty"


def test_before_there_are_enough_requests_only_failures_that_decide_already_count() -> None:
    slow = tally(seconds=SLOW, shift=1.0, refused=15, requests=30)
    assert judge(tally(), slow, 500) == []
    assert judge(tally(), tally(failed=5, requests=30), 500) == [], "1 % of 500 may fail"
    assert "failed" in judge(tally(), tally(failed=6, requests=30), 500)[0]


def test_without_an_old_version_to_compare_with_only_failures_count() -> None:
    assert judge(of({}), tally(seconds=SLOW)) == []
    assert judge(of({}), tally(failed=20))


def test_classes_are_compared_by_their_shares() -> None:
    old, new = (
        of({"200": 100}, FAST, classes=classes)
        for classes in ({"a": 80, "b": 20}, {"a": 20, "b": 70, "c": 10})
    )
    assert distance(old, new)[0] == pytest.approx(0.6)
    assert "predicts otherwise" in judge(old, new)[0]


def test_the_quantile_lies_on_a_line_between_two_edges() -> None:
    assert quantile(Counter({1.0: 50.0, 2.0: 100.0, math.inf: 100.0}), 0.75) == pytest.approx(1.5)
    beyond = quantile(Counter({1.0: 0.0, math.inf: 10.0}), 0.5)
    assert beyond == 1.0, "what lies beyond the last edge counts as it"
    assert quantile(Counter(), 0.95) == 0


def metrics(good: int, bad: int = 0, classes: tuple[str, ...] = ()) -> str:
    """What a server's /metrics says after so many requests of two rows each."""
    numbers = {PREDICTION: {"edges": [1.0, 2.0], "counts": [0, 0, 0], "missing": 0}}
    meters = Meters("v", Profile({} if classes else numbers, 0, list(classes)))
    for status, times in ((200, good), (503, bad)):
        for _ in range(times):
            meters.requests.labels(status).inc()
            meters.seconds.observe(0.003)
    for _ in range(good):
        meters.predicted(np.array([[0.9, 0.1], [0.2, 0.8]]) if classes else np.array([0.5, 9.0]))
    return generate_latest(meters.registry).decode()


def test_what_the_server_counts_is_what_the_rule_reads() -> None:
    found = parse(metrics(3, 1))
    assert found[REQUESTS].total() == 4 and share(found, "5") == 0.25
    assert found[PREDICTIONS] == {1.0: 3, 2.0: 3, math.inf: 6}
    assert quantile(found[SECONDS], 0.95) < 0.005
    assert parse(metrics(3, classes=("late", "on time")))[CLASSES] == {"late": 3, "on time": 3}


def test_what_came_since_the_start_counts() -> None:
    early = of({"200": 4}, {0.1: 2.0}, classes={"a": 1.0})
    later = of({"200": 9, "500": 1}, {0.1: 5.0}, classes={"a": 4.0})
    between = since(later, early)
    assert between == of({"200": 5, "500": 1}, {0.1: 3.0}, classes={"a": 3.0})
    assert since(early, later) is early, "a server that began anew"


def write(folder: Path, **texts: str) -> str:
    folder.mkdir(exist_ok=True)
    for name, text in texts.items():
        (folder / name.replace("_", ".")).write_text(text)
    return str(folder)


def test_the_pods_of_a_folder_add_up_from_when_the_canary_began(tmp_path: Path) -> None:
    texts = {"one_start": metrics(100, 5), "one_now": metrics(130, 5), "two_now": metrics(20)}
    place = write(tmp_path / "pods", **texts, gone_start=metrics(500))
    assert since(read(place), read(place, "start"))[REQUESTS] == {"200": 50, "503": 0}
    with pytest.raises(LifecycleError, match="no metrics"):
        read(write(tmp_path / "none"))


@pytest.mark.parametrize(
    ("good", "bad", "code", "says"),
    [(600, 0, 0, ""), (200, 0, 3, "200 requests are too few to judge by (500)"), (580, 20, 5, "3.3% of its")],
)
def test_the_exit_code_says_what_to_do(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    good: int,
    bad: int,
    code: int,
    says: str,
) -> None:
    old, new = (
        write(tmp_path / name, pod_now=text)
        for name, text in (("old", metrics(900)), ("new", metrics(good, bad)))
    )
    monkeypatch.setattr(sys, "argv", ["canary", old, new, "0", "500"])
    with pytest.raises(SystemExit) as ended:
        canary.main()
    said = capsys.readouterr()
    assert ended.value.code == code and says in said.err
    assert f"new: {good + bad} requests, {bad} failed, p95 " in said.out


def test_a_server_that_cannot_be_asked_is_no_verdict(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["canary", "http://127.0.0.1:1", "http://127.0.0.1:1", "0", "1"])
    with pytest.raises(SystemExit) as ended:
        canary.main()
    assert ended.value.code == 1 and "cannot be reached" in capsys.readouterr().err
