"""Each step alone: what it writes, what it refuses, and that a second run changes nothing."""

from pathlib import Path

import pandas as pd
import pytest

from lifecycle import project, settings
from lifecycle.candidate import FILES, MANIFEST, digest, verify
from lifecycle.errors import DataError, DigestMismatch, GateRejected, LifecycleError, SettingsError
from lifecycle.project import CANDIDATE, HOLDOUT, PARAMS, RAW, VALID
from lifecycle.registry.contract import PRODUCTION, STAGING, live_model, open_registry
from lifecycle.serving.predictor import Predictor
from lifecycle.steps import evaluate, ingest, register, train, validate


def test_ingest_writes_what_load_returns(
    work: Path, rows: pd.DataFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(project.load("data"), "load", lambda: rows.head(7))
    ingest.run()
    assert len(pd.read_parquet(RAW)) == 7


def test_ingest_says_when_there_are_no_rows(work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(project.load("data"), "load", lambda: pd.DataFrame())
    with pytest.raises(DataError, match="no rows"):
        ingest.run()


def test_validate_halts_before_anything_is_written(work: Path) -> None:
    VALID.unlink()
    raw = pd.read_parquet(RAW)
    ingest.write_parquet(raw.drop(columns=raw.columns[0]), RAW)
    with pytest.raises(DataError, match="Nothing after validate was run"):
        validate.run()
    assert not VALID.exists()


def test_training_twice_gives_the_same_model(work: Path) -> None:
    before = {name: digest(CANDIDATE / name) for name in FILES}
    train.run()
    assert {name: digest(CANDIDATE / name) for name in FILES} == before
    assert not (CANDIDATE / "manifest.json").exists(), "a new candidate must pass the gate again"


def test_a_changed_file_is_refused(work: Path) -> None:
    assert verify(CANDIDATE).version
    model = CANDIDATE / "model.onnx"
    model.write_bytes(model.read_bytes()[:-1] + b"\0")
    with pytest.raises(DigestMismatch, match=r"model\.onnx"):
        register.run()


def test_register_promote_rollback(work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    register.run()
    register.run()
    registry = open_registry()
    first = verify(CANDIDATE).version
    assert [item.version for item in registry.versions()] == [first]
    assert registry.aliases() == {STAGING: first}
    assert live_model() is None

    registry.promote(first, PRODUCTION, "Ada", "first release")
    live = live_model()
    assert live is not None and verify(live).version == first
    with pytest.raises(LifecycleError, match="no version before"):
        registry.rollback(PRODUCTION, "Ada", "")

    monkeypatch.setenv("LIFECYCLE_SPLIT__HOLDOUT", "0.3")
    monkeypatch.setenv("LIFECYCLE_GATE__COMPARE_WITH_LIVE", "false")
    monkeypatch.setenv("LIFECYCLE_GATE__MARGIN_OVER_BASELINE", "-1000")
    for step in (train, evaluate, register):
        step.run()
    second = verify(CANDIDATE).version
    registry.promote(STAGING, PRODUCTION, "Ada", "more data")
    assert registry.aliases()[PRODUCTION] == second != first
    assert registry.rollback(PRODUCTION, "Grace", "worse").version == first
    moves = [(move.action, move.version) for move in registry.history() if move.alias == PRODUCTION]
    assert moves == [("promote", first), ("promote", second), ("rollback", first)]


def test_an_unknown_setting_is_refused_with_its_line(work: Path) -> None:
    PARAMS.write_text("split:\n  holdout: 0.2\n  holdoot: 0.3\n")
    with pytest.raises(SettingsError, match=r"params\.yaml, line 3, split\.holdoot"):
        settings.load()


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
