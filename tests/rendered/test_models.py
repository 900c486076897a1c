"""Every family of models that the README names trains, exports to ONNX and passes the gate; others are named.

Run in a rendered project, by tests/test_rendered.py.
"""

import shutil
from pathlib import Path
from typing import Any

import pytest
from lightgbm import LGBMClassifier, LGBMRegressor
from sklearn import ensemble, linear_model, naive_bayes, neighbors
from sklearn.base import BaseEstimator
from sklearn.compose import ColumnTransformer
from sklearn.impute import SimpleImputer
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from xgboost import XGBClassifier, XGBRegressor

from lifecycle import project
from lifecycle.errors import ExportError, GateRejected
from lifecycle.steps import evaluate, ingest, train, validate

REGRESSION = project.load("schema").TASK == "regression"
ROWS = 3000
SCALED = [  # regression, classification
    (linear_model.Ridge(), linear_model.LogisticRegression(max_iter=1000)),
]
IMPUTED = [
    (ensemble.RandomForestRegressor(30, random_state=0), ensemble.RandomForestClassifier(30, random_state=0)),
    (ensemble.GradientBoostingRegressor(random_state=0), ensemble.GradientBoostingClassifier(random_state=0)),
]
NATIVE = [
    (ensemble.HistGradientBoostingRegressor(), ensemble.HistGradientBoostingClassifier()),
    (XGBRegressor(n_estimators=60), XGBClassifier(n_estimators=60)),
    (LGBMRegressor(n_estimators=60, verbose=-1), LGBMClassifier(n_estimators=60, verbose=-1)),
]


def pipeline(numbers: Any, estimator: BaseEstimator):
    """Return a model.build that puts the estimator behind a treatment of numbers and one-hot categories."""

    def build(names: list[str], categories: list[str], params: dict) -> Pipeline:
        one_hot = OneHotEncoder(handle_unknown="ignore", sparse_output=False)
        columns = ColumnTransformer([("n", numbers, names), ("c", one_hot, categories)])
        return Pipeline([("columns", columns), ("model", estimator)])

    return build


MODELS = (
    [(make_pipeline(SimpleImputer(), StandardScaler()), pair) for pair in SCALED]
    + [(SimpleImputer(), pair) for pair in IMPUTED]
    + [("passthrough", pair) for pair in NATIVE]
)


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with valid rows, the current one; an empty registry, so nothing to compare with."""
    rows = project.load("data").load().tail(ROWS)
    shutil.copy("params.yaml", tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LIFECYCLE_GATE__MAX_LATENCY_MS", "1000")
    ingest.write_parquet(rows, ingest.RAW)
    validate.run()
    return tmp_path


@pytest.mark.parametrize(("numbers", "pair"), MODELS, ids=[type(pair[0]).__name__ for _, pair in MODELS])
def test_a_family_passes_the_gate(
    work: Path, monkeypatch: pytest.MonkeyPatch, numbers: Any, pair: tuple[BaseEstimator, BaseEstimator]
) -> None:
    monkeypatch.setattr(project.load("model"), "build", pipeline(numbers, pair[0 if REGRESSION else 1]))
    train.run()
    assert "passed as" in evaluate.run()


def test_scaling_before_a_tree_that_splits_at_the_data_is_caught(
    work: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """XGBoost splits at values of the data: after a scaler, float32 puts some on the other side."""
    estimator = XGBRegressor(n_estimators=300) if REGRESSION else XGBClassifier(n_estimators=300)
    scaled = make_pipeline(SimpleImputer(), StandardScaler())
    monkeypatch.setattr(project.load("model"), "build", pipeline(scaled, estimator))
    train.run()
    with pytest.raises(GateRejected, match="ONNX differs from the estimator"):
        evaluate.run()


def test_what_cannot_be_exported_is_named(work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Odd(neighbors.KNeighborsRegressor if REGRESSION else naive_bayes.GaussianNB):  # type: ignore[misc]
        """An estimator that skl2onnx has no converter for."""

    monkeypatch.setattr(project.load("model"), "build", pipeline(SimpleImputer(), Odd()))
    with pytest.raises(ExportError, match="Odd"):
        train.run()
