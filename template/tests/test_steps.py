"""Each step alone: what it writes, that a second run changes nothing, and what it says when it cannot."""

from pathlib import Path

import pandas as pd
import pytest

from lifecycle import project, settings
from lifecycle.candidate import FILES, digest, verify
from lifecycle.errors import DataError, DigestMismatch, LifecycleError, SettingsError
from lifecycle.paths import CANDIDATE, PARAMS, RAW, VALID
from lifecycle.registry import live_model, open_registry
from lifecycle.registry.contract import PRODUCTION, STAGING
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
