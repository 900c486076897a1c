"""The verdict: silent on the same data, loud on moved data, and honest about too few rows."""

from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from lifecycle.columns import Arrays, Column, Schema
from lifecycle.monitoring import drift
from lifecycle.monitoring.profile import Profile
from lifecycle.monitoring.windows import Recorder, collect
from lifecycle.settings import Drift

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


def test_few_rows_are_no_verdict() -> None:
    assert verdict(499, shift=3.0).verdict == "insufficient data"
    assert verdict(0).verdict == "insufficient data"


def test_many_refused_rows_are_broken_data() -> None:
    assert verdict(1_000, rejected=100).verdict == "broken data"
    assert verdict(0, rejected=1_000).verdict == "broken data"


def test_a_new_category_and_missing_values_are_counted() -> None:
    current = REFERENCE.empty()
    columns, predictions = draw(1_000)
    columns["c"][:400] = "new"
    columns["x"][:400] = np.nan
    current.add(columns, predictions)
    found = {feature.name: feature for feature in drift.compare(REFERENCE, current, Drift())}
    assert found["c"].drifted
    assert found["x"].missing > 0.4 > 0.06 > found["x"].missing_before


def test_windows_of_several_servers_add_up(tmp_path: Path) -> None:
    whole = REFERENCE.empty()
    for seed in range(3):
        recorder = Recorder(REFERENCE, tmp_path, "v1", seconds=3600)
        recorder.start()
        recorder.add(*draw(400, seed=seed))
        recorder.reject(2)
        recorder.close()
        whole.add(*draw(400, seed=seed))
    total, rejected = collect(REFERENCE, tmp_path, "v1", hours=1)
    assert (total.to_dict(), rejected) == (whole.to_dict(), 6)
    assert collect(REFERENCE, tmp_path, "v2", hours=1)[0].rows == 0
    stamp = datetime.now(UTC).strftime("%Y")
    assert all(path.name.startswith(stamp) for path in (tmp_path / "v1").glob("*.json"))
