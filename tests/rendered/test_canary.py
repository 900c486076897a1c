"""The rule by which a canary gets all of the traffic, or none."""

import math

import numpy as np
import pytest
from prometheus_client import generate_latest

from lifecycle.monitoring.profile import PREDICTION, Profile
from lifecycle.serving.canary import Tally, distance, judge, quantile
from lifecycle.serving.guard import Meters

FAST = {0.001: 500.0, 0.005: 950.0, 0.01: 990.0, math.inf: 1000.0}


def tally(failed: int = 0, seconds: dict[float, float] = FAST, shift: float = 0.0, bins: int = 20) -> Tally:
    """1,000 requests; the predictions are normal, in bins of their own as every version has them."""
    drawn = np.random.default_rng(bins).normal(shift, 1, 1000)
    edges = np.quantile(np.random.default_rng(1).normal(shift, 1, 5000), np.linspace(0, 1, bins + 1)[1:-1])
    predictions = {float(edge): float((drawn <= edge).sum()) for edge in edges} | {math.inf: 1000.0}
    return Tally(1000, failed, seconds, predictions)


def test_a_version_as_good_as_the_old_one_may_have_it_all() -> None:
    assert judge(tally(failed=2), tally(failed=8, bins=33)) == []


@pytest.mark.parametrize(
    ("new", "told"),
    [
        (tally(failed=40), "4.0% of its requests failed, 0.0% of the old version's"),
        (tally(seconds={0.005: 10.0, 0.1: 990.0, math.inf: 1000.0}), "its 95th percentile is 96.1 ms, over"),
        (tally(shift=1.0), "it predicts otherwise on the same traffic: distance 0.3"),
    ],
)
def test_each_rule_rejects(new: Tally, told: str) -> None:
    (fault,) = judge(tally(), new)
    assert told in fault


def test_few_requests_need_a_larger_difference() -> None:
    few = Tally(20, 0, FAST, {0.0: 14.0, math.inf: 20.0})
    gap, rows = distance(tally(), few)
    assert 0.1 < gap < 0.2 and rows == (1000, 20)
    assert judge(tally(), few) == []


def test_classes_are_compared_by_their_shares() -> None:
    old, new = (
        Tally(100, 0, FAST, {}, {"a": 80, "b": 20}),
        Tally(100, 0, FAST, {}, {"a": 20, "b": 70, "c": 10}),
    )
    assert distance(old, new)[0] == pytest.approx(0.6)
    assert "predicts otherwise" in judge(old, new)[0]


def test_the_quantile_lies_on_a_line_between_two_edges() -> None:
    assert quantile({1.0: 50.0, 2.0: 100.0, math.inf: 100.0}, 0.75) == pytest.approx(1.5)
    assert quantile({1.0: 0.0, math.inf: 10.0}, 0.5) == 1.0, "what lies beyond the last edge counts as it"
    assert quantile({}, 0.95) == 0


@pytest.mark.parametrize("classes", [[], ["late", "on time"]])
def test_what_the_server_counts_is_what_the_rule_reads(classes: list[str]) -> None:
    numbers = {PREDICTION: {"edges": [1.0, 2.0], "counts": [0, 0, 0], "missing": 0}}
    meters = Meters("v", Profile({} if classes else numbers, 0, classes))
    meters.requests.labels(200).inc(3)
    meters.requests.labels(503).inc(1)
    meters.predictions.add(np.array([[0.9, 0.1], [0.2, 0.8]]) if classes else np.array([0.5, 1.5, 9.0]))
    read = Tally.parse(generate_latest(meters.registry).decode())
    assert (read.requests, read.failed) == (4, 1)
    if classes:
        assert read.classes == {"late": 1, "on time": 1}
    else:
        assert read.predictions == {1.0: 1, 2.0: 2, math.inf: 3}
    later = Tally(10, 1, {0.1: 5.0}, {}, {"a": 4.0}).since(Tally(4, 1, {0.1: 2.0}, {}, {"a": 1.0}))
    assert (later.requests, later.failed, later.seconds, later.classes) == (6, 0, {0.1: 3.0}, {"a": 3.0})
    assert Tally(1).since(Tally(100)).requests == 1, "a server that began anew"
