"""Every family of models that the README names trains, becomes ONNX and passes the gate; others are named."""

from typing import Any

import pytest
from lifecycle.errors import ExportError, GateRejected
from lifecycle.project import Project
from lightgbm import LGBMClassifier, LGBMRegressor
from projects import run
from sklearn import ensemble, linear_model, naive_bayes, neighbors
from sklearn.base import BaseEstimator
from sklearn.compose import ColumnTransformer
from sklearn.impute import SimpleImputer
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from xgboost import XGBClassifier, XGBRegressor

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
FAMILIES = (
    [(make_pipeline(SimpleImputer(), StandardScaler()), pair) for pair in SCALED]
    + [(SimpleImputer(), pair) for pair in IMPUTED]
    + [("passthrough", pair) for pair in NATIVE]
)
TASKS = ["regression", "classification"]


@pytest.fixture(params=TASKS)
def either(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Project:
    """A project of each task. Its gate asks a little less than usual: these are few rows."""
    monkeypatch.setenv("LIFECYCLE_GATE__MARGIN_OVER_BASELINE", "0.05")
    monkeypatch.setenv("LIFECYCLE_GATE__COMPARE_WITH_LIVE", "false")
    return request.getfixturevalue("project" if request.param == "regression" else "classifier_project")


def choose(project: Project, pair: tuple[BaseEstimator, BaseEstimator]) -> BaseEstimator:
    return pair[TASKS.index(project.load("schema").TASK)]


def pipeline(numbers: Any, estimator: BaseEstimator) -> Any:
    """Return a model.build that puts the estimator behind a treatment of numbers and one-hot categories."""

    def build(names: list[str], categories: list[str], params: dict[str, Any]) -> Pipeline:
        one_hot = OneHotEncoder(handle_unknown="ignore", sparse_output=False)
        columns = ColumnTransformer([("n", numbers, names), ("c", one_hot, categories)])
        return Pipeline([("columns", columns), ("model", estimator)])

    return build


@pytest.mark.parametrize(("numbers", "pair"), FAMILIES, ids=[type(pair[0]).__name__ for _, pair in FAMILIES])
def test_a_family_passes_the_gate(
    either: Project, monkeypatch: pytest.MonkeyPatch, numbers: Any, pair: tuple[BaseEstimator, BaseEstimator]
) -> None:
    monkeypatch.setattr(either.load("model"), "build", pipeline(numbers, choose(either, pair)))
    assert "passed as" in run(either, "train", "evaluate")


def test_scaling_before_a_tree_that_splits_at_the_data_is_caught(
    either: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    """XGBoost splits at values of the data: after a scaler, float32 puts some on the other side."""
    estimator = choose(either, (XGBRegressor(n_estimators=300), XGBClassifier(n_estimators=300)))
    scaled = make_pipeline(SimpleImputer(), StandardScaler())
    monkeypatch.setattr(either.load("model"), "build", pipeline(scaled, estimator))
    with pytest.raises(GateRejected, match="ONNX differs from the estimator"):
        run(either, "train", "evaluate")


def test_what_cannot_be_exported_is_named(either: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    class OddRegressor(neighbors.KNeighborsRegressor):
        """An estimator that skl2onnx has no converter for."""

    class OddClassifier(naive_bayes.GaussianNB):
        """Another."""

    estimator = choose(either, (OddRegressor(), OddClassifier()))
    monkeypatch.setattr(either.load("model"), "build", pipeline(SimpleImputer(), estimator))
    with pytest.raises(ExportError, match="Odd"):
        run(either, "train")
