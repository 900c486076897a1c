"""The gate: what it measures, and each rule that rejects a candidate."""

import json
from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest
from lifecycle.data.schema import Column, Schema
from lifecycle.errors import GateRejected
from lifecycle.files import write_parquet
from lifecycle.model.package import MANIFEST
from lifecycle.model.predictor import Predictor
from lifecycle.project import Project
from lifecycle.registry.base import production_model
from lifecycle.settings import Gate
from lifecycle.training import gate, metrics
from projects import run
from sklearn import metrics as sk

Evaluate = Callable[..., str]


@pytest.fixture
def evaluate(project: Project, monkeypatch: pytest.MonkeyPatch) -> Evaluate:
    """Run the step with some rules of the gate changed, the rest wide open."""

    def run_step(**rules: object) -> str:
        wide = {"margin_over_baseline": -1000, "compare_with_live": False, "max_latency_ms": 10_000}
        for key, value in (wide | rules).items():
            monkeypatch.setenv(f"LIFECYCLE_GATE__{key.upper()}", str(value))
        return run(project, "evaluate")

    return run_step


def test_a_good_candidate_is_sealed_with_what_was_measured(project: Project, evaluate: Evaluate) -> None:
    line = evaluate()
    predictor = Predictor(project.candidate, project.features.build)
    assert predictor.healthy()
    assert line.endswith(f"passed as {predictor.version}") and line.startswith("MAE ")
    assert predictor.manifest is not None
    assert predictor.manifest.metrics == json.loads(project.metrics.read_text())
    assert len(predictor.manifest.smoke) == 20
    assert predictor.manifest.params["model"] == {"max_iter": 40}


@pytest.mark.parametrize(
    ("rule", "value", "message"),
    [
        ("margin_over_baseline", 1.0, "MAE .* is over 0: the baseline .*, less 100%"),
        ("baseline", 1e-9, "the baseline 1e-09"),
        ("max_latency_ms", 1e-9, r"one row takes .* ms, the limit is 1e-09"),
        ("max_size_mb", 1e-9, "the files take .* MB"),
    ],
)
def test_a_broken_rule_rejects_and_leaves_no_seal(
    project: Project, evaluate: Evaluate, rule: str, value: float, message: str
) -> None:
    rules = {"margin_over_baseline": 0} if rule == "baseline" else {}
    with pytest.raises(GateRejected, match=message):
        evaluate(**rules | {rule: value})
    assert not (project.candidate / MANIFEST).exists()
    assert project.metrics.is_file()


def test_every_broken_rule_is_listed(evaluate: Evaluate) -> None:
    with pytest.raises(GateRejected) as error:
        evaluate(margin_over_baseline=1, max_latency_ms=1e-9, max_size_mb=1e-9)
    assert str(error.value).count("\n  - ") == 3


def test_onnx_that_differs_from_the_estimator_is_rejected(project: Project, evaluate: Evaluate) -> None:
    holdout = pd.read_parquet(project.holdout)
    holdout["__estimate_0"] += holdout["__estimate_0"].std() + 1
    write_parquet(holdout, project.holdout)
    with pytest.raises(GateRejected, match="ONNX differs"):
        evaluate()


def test_no_better_than_the_live_model_is_rejected(project: Project, evaluate: Evaluate) -> None:
    evaluate(compare_with_live=True)  # as good as the live model, which is itself: no margin is asked for
    facts = json.loads(project.metrics.read_text())
    assert facts["live"] == facts["error"] and facts["live_version"]
    with pytest.raises(GateRejected, match="is not better than the live model"):
        evaluate(compare_with_live=True, margin_over_live=0.01)


def test_a_live_model_that_cannot_be_scored_is_named(project: Project, evaluate: Evaluate) -> None:
    holdout = pd.read_parquet(project.holdout)
    schema = json.loads((project.candidate / "schema.json").read_text())
    schema["columns"] = [column for column in schema["columns"] if column["name"] != "zone"]
    (project.candidate / MANIFEST).unlink()
    (project.candidate / "schema.json").write_text(json.dumps(schema))
    write_parquet(holdout.drop(columns="zone"), project.holdout)

    def build(columns: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        without = {"zone": np.full(len(columns["items"]), "north", dtype=object)}
        return project.features.build(without | columns)

    folder = production_model(project)
    assert folder is not None
    new, live = Predictor(project.candidate, build), Predictor(folder, build)
    changed = pd.read_parquet(project.holdout)
    facts, messages = gate.judge(new, changed, 30.0, Gate(margin_over_baseline=-9, max_latency_ms=1e4), live)
    assert messages[0].startswith("the live model cannot be scored on this data ('zone')")
    assert "live" not in facts


def test_a_rule_of_your_own(project: Project) -> None:
    class Rmse(gate.Rule):
        """Large errors are rare."""

        id, figure, text = "rmse", "rmse", "RMSE {rmse:.3g} is over {threshold}"

        def threshold(self, facts: gate.Facts, setting: object) -> float:
            return 0.5 * facts["error"]

    predictor = Predictor(project.candidate, project.features.build)
    holdout, thresholds = pd.read_parquet(project.holdout), Gate(max_latency_ms=1e4)
    assert gate.judge(predictor, holdout, 30.0, thresholds)[1] == []
    _, messages = gate.judge(predictor, holdout, 30.0, thresholds, rules=(*gate.RULES, Rmse()))
    assert len(messages) == 1 and messages[0].startswith("RMSE ")


def test_what_is_not_a_number_never_passes() -> None:
    facts = {"metric": "MAE", "baseline": 1.0, "live": 1.0, "live_version": "v1"}
    facts |= dict.fromkeys(("error", "parity", "latency_ms", "size_mb"), np.nan)
    assert all(rule.message(facts, Gate()) for rule in gate.RULES)


def test_the_error_is_mae_or_log_loss() -> None:
    random = np.random.default_rng(0)
    schema = Schema(task="regression", target=Column(name="y", kind="number"), time=None, columns=[])
    truth, predicted = random.normal(size=50), random.normal(size=50)
    assert metrics.error(truth, predicted) == pytest.approx(sk.mean_absolute_error(truth, predicted))
    figures = metrics.others(truth, predicted, schema)
    assert figures["rmse"] == pytest.approx(sk.root_mean_squared_error(truth, predicted))

    schema = schema.model_copy(update={"classes": ["a", "b", "c"]})
    numbers, shares = random.integers(3, size=50), random.dirichlet([1, 1, 1], size=50)
    assert metrics.error(numbers, shares) == pytest.approx(sk.log_loss(numbers, shares))
    assert metrics.losses(np.array([0]), np.array([[0.0, 1.0]])) == pytest.approx([36.04], abs=0.01)
    assert metrics.others(numbers, shares, schema)["classes"].keys() == {"a", "b", "c"}


def test_a_naive_model_predicts_the_same_for_every_row() -> None:
    assert metrics.constant(2.5, 3).tolist() == [2.5, 2.5, 2.5]
    assert metrics.constant([0.2, 0.8], 2).tolist() == [[0.2, 0.8], [0.2, 0.8]]
