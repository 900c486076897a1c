"""The verdict: silent on the same data, loud on moved data, and honest about too few rows."""

import json
import re
from itertools import pairwise

import numpy as np
import pytest
from lifecycle.data.arrays import Arrays
from lifecycle.data.schema import Column, Schema
from lifecycle.monitoring import drift, report
from lifecycle.monitoring.profile import Profile, importances
from lifecycle.settings import Drift
from scipy import stats

SCHEMA = Schema(
    task="regression",
    target=Column(name="y", kind="number"),
    time=None,
    columns=[Column(name="x", kind="number"), Column(name="c", kind="category")],
)


def draw(rows: int, shift: float = 0.0, share: float = 0.5, seed: int = 0) -> tuple[Arrays, np.ndarray]:
    random = np.random.default_rng(seed)
    x = random.normal(shift, 1, rows)
    x[::20] = np.nan
    c = np.where(random.random(rows) < share, "a", "b").astype(object)
    return {"x": x, "c": c}, np.nan_to_num(x)


REFERENCE = Profile.build(*draw(20_000), SCHEMA)


def verdict(rows: int, rejected: int = 0, shift: float = 0.0, share: float = 0.5) -> drift.Verdict:
    current = REFERENCE.empty()
    if rows:
        current.add(*draw(rows, shift, share, seed=1))
    return drift.judge(REFERENCE, current, rejected, Drift())


def test_the_same_data_does_not_drift() -> None:
    assert verdict(5_000).verdict == "no drift"


@pytest.mark.parametrize(
    ("shift", "share", "drifted"), [(0.5, 0.5, {"x", "(prediction)"}), (0.0, 0.8, {"c"})]
)
def test_moved_data_drifts(shift: float, share: float, drifted: set[str]) -> None:
    found = verdict(1_000, shift=shift, share=share)
    assert found.verdict == "drift"
    assert {feature.name for feature in found.features if feature.drifted} == drifted


def test_a_trivial_shift_of_very_many_rows_does_not_drift() -> None:
    found = verdict(200_000, shift=0.05)
    assert found.verdict == "no drift"
    assert min(feature.p_value for feature in found.features) < 0.01, "significant, but too small to act on"


def test_each_verdict_has_its_exit_code() -> None:
    assert verdict(5_000).exit_code == 0
    assert verdict(1_000, shift=0.5).exit_code == 2
    assert verdict(0).exit_code == 3
    assert verdict(0, rejected=1_000).exit_code == 4


def test_few_rows_are_no_verdict() -> None:
    assert verdict(499, shift=3.0).verdict == "insufficient data"
    assert verdict(0).verdict == "insufficient data"


def test_many_refused_rows_are_broken_data() -> None:
    assert verdict(1_000, rejected=100).verdict == "broken data"
    assert verdict(0, rejected=1_000).verdict == "broken data"


def test_broken_data_is_named_and_is_no_drift() -> None:
    """Each fault alone: values that vanish, names that nobody knows, a unit that changed."""
    for fault, column, says in (
        (lambda values: np.nan, "x", "missing, in training 5%"),
        (lambda values: "new", "c", "new categories, in training 0%"),
        (lambda values: values * 1000, "x", "out of range, in training 0%"),
    ):
        current = REFERENCE.empty()
        columns, predictions = draw(1_000)
        columns[column][:400] = fault(columns[column][:400])
        current.add(columns, predictions)
        found = drift.judge(REFERENCE, current, 0, Drift())
        assert found.verdict == "broken data", says
        assert found.why.startswith(f"broken: {column} (") and says in found.why


@pytest.mark.parametrize(("share", "word"), [(0.04, "no drift"), (0.12, "broken data")])
def test_each_rate_of_broken_values_has_a_threshold(share: float, word: str) -> None:
    current = REFERENCE.empty()
    columns, predictions = draw(2_000)
    columns["c"][: int(2_000 * share)] = "new"
    current.add(columns, predictions)
    assert drift.judge(REFERENCE, current, 0, Drift()).verdict == word
    assert drift.judge(REFERENCE, current, 0, Drift(max_new=0.5)).verdict != "broken data"


def test_what_does_not_matter_is_reported_and_makes_no_verdict() -> None:
    reference = Profile.from_dict(json.loads(json.dumps(REFERENCE.to_dict())))
    reference.features["c"]["importance"] = 0.001
    current = reference.empty()
    current.add(*draw(1_000, share=0.8))
    found = drift.judge(reference, current, 0, Drift())
    assert found.verdict == "no drift" and "moved: c" in found.why
    assert [feature.name for feature in found.features if feature.drifted] == ["c"]
    assert drift.judge(reference, current, 0, Drift(min_importance=0)).verdict == "drift"


def test_importance_is_how_much_predictions_change() -> None:
    columns = {"x": np.arange(100.0), "c": np.array(["a", "b"] * 50, dtype=object), "z": np.ones(100)}
    found = importances(columns, lambda some: some["x"] * 10 + (some["c"] == "a"))
    assert found["x"] == 1 and 0 < found["c"] < 0.01 and found["z"] == 0
    assert found == importances(columns, lambda some: some["x"] * 10 + (some["c"] == "a"))


def test_the_profile_of_an_older_candidate_still_works() -> None:
    old = json.loads(json.dumps(REFERENCE.to_dict()))
    for feature in old["features"].values():
        for key in ("range", "outside", "importance"):
            feature.pop(key, None)
    reference = Profile.from_dict(old)
    current = reference.empty()
    current.add(*draw(1_000, shift=0.5))
    current.add(*draw(1, shift=0.5))
    assert drift.judge(reference, current, 0, Drift()).verdict == "drift"


def test_a_row_is_counted_as_many_are() -> None:
    columns, predictions = draw(3_000)
    columns["x"][:3] = [1e9, -1e9, REFERENCE.features["x"]["edges"][7]]
    columns["c"][3] = "new"
    at_once, one_by_one = REFERENCE.empty(), REFERENCE.empty()
    at_once.add(columns, predictions)
    for i in range(3_000):
        one_by_one.add({name: v[i : i + 1] for name, v in columns.items()}, predictions[i : i + 1])
    assert at_once.to_dict() == one_by_one.to_dict()
    edges = [-np.inf, *REFERENCE.features["x"]["edges"], np.inf]
    expected = [np.sum((columns["x"] > a) & (columns["x"] <= b)) for a, b in pairwise(edges)]
    assert at_once.features["x"]["counts"] == expected


def world(random: np.random.Generator, rows: int, features: int, shift: float = 0.0) -> dict[str, list[int]]:
    """Draw the counts of a sample straight from the bins' shares, the first feature moved by so many sigma.

    A third each: 64 quantiles of a normal, categories of very unequal shares, a number that is mostly zero.
    """
    edges = stats.norm.ppf(np.linspace(0, 1, 65)[1:-1])
    rare = 0.8 ** np.arange(30)
    shares = [np.full(64, 1 / 64), rare / rare.sum(), np.append(0.7, np.full(15, 0.02))]
    moved = np.diff(stats.norm.cdf(edges - shift), prepend=0, append=1)
    return {
        f"f{i}": random.multinomial(rows, shares[i % 3] if i else moved).tolist() for i in range(features)
    }


def profile_of(counts: dict[str, list[int]], rows: int) -> Profile:
    features = {
        name: {"counts": c, "missing": 0}
        | ({"names": [*map(str, range(29)), "(other)"]} if len(c) == 30 else {"edges": [0.0] * (len(c) - 1)})
        for name, c in counts.items()
    }
    return Profile(features, rows, [])


@pytest.mark.parametrize("rows", [500, 1_000])
def test_false_alarms_are_at_most_one_in_a_hundred_checks_of_200_features(rows: int) -> None:
    """150 checks without drift: at a true rate of 1 %, more than 5 alarms have a chance of 0.4 %."""
    random = np.random.default_rng(rows)
    alarms = 0
    for _ in range(150):
        before = profile_of(world(random, 10_000, 200), 10_000)
        now = profile_of(world(random, rows, 200), rows)
        alarms += drift.judge(before, now, 0, Drift()).verdict != "no drift"
    assert alarms <= 5


def test_a_shift_of_half_a_sigma_in_one_of_200_features_is_found() -> None:
    """100 checks of 1,000 rows: at a true power of 90 %, 98 or more found have a chance of 0.2 %."""
    random = np.random.default_rng(1)
    found = 0
    for _ in range(100):
        before = profile_of(world(random, 10_000, 200), 10_000)
        now = profile_of(world(random, 1_000, 200, shift=0.5), 1_000)
        found += [f.name for f in drift.compare(before, now, Drift()) if f.drifted] == ["f0"]
    assert found >= 98


def test_the_page_plots_what_moved_and_needs_nothing_else() -> None:
    current = REFERENCE.empty()
    current.add(*draw(1_000, share=0.9))
    found = drift.judge(REFERENCE, current, 3, Drift())
    page = report.page("sh<op", found, REFERENCE, current, "v1", "<served>")
    assert re.findall("<h2>(.*?)</h2>", page) == ["c", "All features"]
    assert (
        page.count("<svg") == 1 and "<td>x</td>" in page and "&lt;served&gt;: 1,000 rows, 3 refused" in page
    )
    assert "<title>sh&lt;op: drift</title>" in page and "training: v1" in page
    assert 'class="key">training</span>' in page and 'class="key served">served</span>' in page
    assert re.findall(r"<title>([ab]: .*?)</title>", page)[0].startswith("a: 50")
    assert not re.search(r"<script|<link|src=|href=|url\(|@import", page)


def test_a_rate_that_rises_from_nothing_to_everything_is_a_fault() -> None:
    """Where both shares are 0 or 1 the spread of the test is zero, which must not raise."""
    current = REFERENCE.empty()
    columns, predictions = draw(1_000)
    columns["x"][:] = np.nan
    current.add(columns, predictions)
    reference = REFERENCE.empty()
    reference.add(columns, predictions)
    assert drift.judge(REFERENCE, current, 0, Drift(max_missing=0)).verdict == "broken data"
    assert drift.judge(reference, current, 0, Drift(max_missing=0)).verdict == "no drift"


def test_a_feature_that_was_always_missing_and_one_with_a_single_value_make_no_alarm() -> None:
    columns = {"x": np.full(1_000, np.nan), "c": np.array(["a"] * 1_000, dtype=object)}
    reference = Profile.build(columns, np.ones(1_000), SCHEMA)
    current = reference.empty()
    current.add(columns, np.ones(1_000))
    found = drift.judge(reference, current, 0, Drift())
    assert found.verdict == "no drift" and all(np.isfinite(feature.psi) for feature in found.features)
    assert "All features" in report.page("shop", found, reference, current, "v1", "served")


def test_a_plot_of_a_number_has_tenths_of_training_with_their_shares() -> None:
    current = REFERENCE.empty()
    current.add(*draw(2_000, shift=1.0))
    found = drift.judge(REFERENCE, current, 0, Drift())
    page = report.page("shop", found, REFERENCE, current, "v1", "served")
    section = page.partition("<h2>x</h2>")[2].partition("<h2>")[0]
    bars = re.findall(r'<rect class="(\w+)".*?<title>(.*?): ([\d.]+)%</title>', section)
    assert len(bars) == 20 and bars[0][1].startswith("≤ ") and bars[-1][1].startswith("&gt; ")
    for kind in ("training", "served"):
        assert sum(float(share) for name, _, share in bars if name == kind) == pytest.approx(100, abs=0.6)
