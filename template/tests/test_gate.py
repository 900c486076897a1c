"""The gate lets a good candidate through, and rejects each kind of bad one."""

from pathlib import Path

import pandas as pd
import pytest

from lifecycle.candidate import MANIFEST, verify
from lifecycle.errors import GateRejected
from lifecycle.paths import CANDIDATE, HOLDOUT
from lifecycle.registry import open_registry
from lifecycle.registry.contract import PRODUCTION
from lifecycle.serving.predictor import Predictor
from lifecycle.steps import evaluate, ingest, register


@pytest.fixture
def gate(work: Path, monkeypatch: pytest.MonkeyPatch):
    """Run evaluate with some rules of the gate changed, the rest wide open."""

    def run(**rules: object) -> str:
        wide = {"margin_over_baseline": -1000, "max_latency_ms": 10_000, "parity": 0.01}
        for key, value in (wide | rules).items():
            monkeypatch.setenv(f"LIFECYCLE_GATE__{key.upper()}", str(value))
        return evaluate.run()

    return run


def test_a_good_candidate_is_sealed(gate) -> None:
    assert "passed as" in gate()
    assert Predictor(CANDIDATE).healthy()


@pytest.mark.parametrize(
    ("rule", "value", "said"),
    [
        ("margin_over_baseline", 1.0, "the baseline"),
        ("baseline", 1e-9, "the baseline"),
        ("max_latency_ms", 1e-9, "one row takes"),
        ("max_size_mb", 1e-9, "the files take"),
    ],
)
def test_a_broken_rule_rejects_and_leaves_no_seal(gate, rule: str, value: float, said: str) -> None:
    rules = {"margin_over_baseline": 0} if rule == "baseline" else {}
    with pytest.raises(GateRejected, match=said):
        gate(**rules | {rule: value})
    assert not (CANDIDATE / MANIFEST).exists()


def test_onnx_that_differs_from_the_estimator_is_rejected(gate) -> None:
    holdout = pd.read_parquet(HOLDOUT)
    holdout["__estimate_0"] += holdout["__estimate_0"].std() + 1
    ingest.write_parquet(holdout, HOLDOUT)
    with pytest.raises(GateRejected, match="ONNX differs"):
        gate()


def test_no_better_than_the_live_model_is_rejected(gate) -> None:
    gate()
    register.run()
    open_registry().promote(verify(CANDIDATE).version, PRODUCTION, "Ada", "")
    gate()  # as good as the live model, which is itself: no margin is asked for
    with pytest.raises(GateRejected, match="is not better than the live model"):
        gate(margin_over_live=0.01)
