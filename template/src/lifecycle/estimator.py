"""The estimator: how good it is, and how it becomes ONNX, which any language can run, and no pickle.

Errors are MAE for a number and log loss for classes: of both, less is better.
"""

from contextlib import suppress
from typing import Any

import numpy as np
import pandas as pd
from onnx import ModelProto
from skl2onnx import to_onnx, update_registered_converter
from skl2onnx.common.data_types import FloatTensorType, StringTensorType
from skl2onnx.common.exceptions import MissingConverter, MissingShapeCalculator
from skl2onnx.common.shape_calculator import (
    calculate_linear_classifier_output_shapes as classifier_shapes,
)
from skl2onnx.common.shape_calculator import (
    calculate_linear_regressor_output_shapes as regressor_shapes,
)
from sklearn import metrics as sk
from sklearn.base import is_classifier

from .columns import Schema
from .errors import DataError, ExportError

OPSET = {"": 17, "ai.onnx.ml": 3}  # what skl2onnx, onnxmltools and onnxruntime all know
CLASSIFIER_OPTIONS = {"zipmap": [True, False, "columns"], "nocl": [True, False]}


def to_model(estimator: Any, numbers: list[str], categories: list[str]) -> ModelProto:
    """Export; each input is a column: float [rows, 1] for numbers, string [rows, 1] for categories.

    Raises ExportError that names what cannot be exported.
    """
    _register_boosting()
    inputs = [(name, FloatTensorType([None, 1])) for name in numbers]
    inputs += [(name, StringTensorType([None, 1])) for name in categories]
    last = estimator.steps[-1][1] if hasattr(estimator, "steps") else estimator
    options = {id(last): {"zipmap": False}} if is_classifier(last) else None
    try:
        model = to_onnx(estimator, initial_types=inputs, target_opset=OPSET, options=options)
    except (MissingConverter, MissingShapeCalculator, NotImplementedError, NameError) as error:
        raise ExportError(
            f"model.py's estimator does not export to ONNX: {_first_line(error)}",
            "use linear models, forests, gradient boosting, XGBoost or LightGBM in model.py",
        ) from error
    # They come from a set, in any order: the same model should be the same bytes.
    model.opset_import.sort(key=lambda opset: opset.domain)
    return model


def _first_line(error: Exception) -> str:
    return next((line for line in str(error).splitlines() if line.strip()), repr(error))


def _register_boosting() -> None:
    """Teach skl2onnx XGBoost and LightGBM where they are installed (uv sync --group boosting)."""
    with suppress(ImportError):
        from onnxmltools.convert.xgboost.operator_converters.XGBoost import convert_xgboost
        from xgboost import XGBClassifier, XGBRegressor

        _register(XGBRegressor, XGBClassifier, convert_xgboost, {})
    with suppress(ImportError, OSError):  # OSError: it is installed, and the machine has no libgomp.so.1
        from lightgbm import LGBMClassifier, LGBMRegressor
        from onnxmltools.convert.lightgbm.operator_converters.LightGbm import convert_lightgbm

        _register(LGBMRegressor, LGBMClassifier, convert_lightgbm, {"split": None})


def _register(regressor: Any, classifier: Any, convert: Any, options: dict) -> None:
    update_registered_converter(regressor, regressor.__name__, regressor_shapes, convert, options=options)
    update_registered_converter(
        classifier, classifier.__name__, classifier_shapes, convert, options=CLASSIFIER_OPTIONS
    )


def metric(schema: Schema) -> str:
    return "log loss" if schema.classes else "MAE"


def truth(target: pd.Series, schema: Schema) -> np.ndarray:
    """Return the target as floats, or as class numbers into schema.classes."""
    if not schema.classes:
        return target.to_numpy(dtype=np.float64)
    numbers = target.map({label: i for i, label in enumerate(schema.classes)})
    if numbers.isna().any():
        unseen = sorted(map(str, target[numbers.isna()].unique()))
        raise DataError(
            f"the hold-out has classes of {schema.target.name} that training never saw: " + ", ".join(unseen),
            "bring more data, or make split.holdout in params.yaml smaller",
        )
    return numbers.to_numpy(dtype=np.int64)


def constant(value: Any, rows: int) -> np.ndarray:
    """Return the naive model's predictions: the same median, or class shares, for every row."""
    return np.tile(np.asarray(value, dtype=np.float64), (rows, 1) if np.ndim(value) else rows)


def error(actual: np.ndarray, predicted: np.ndarray, schema: Schema) -> float:
    """Return MAE in the target's unit, or log loss in nats."""
    if schema.classes:
        return float(sk.log_loss(actual, predicted, labels=range(len(schema.classes))))
    return float(sk.mean_absolute_error(actual, predicted))


def others(actual: np.ndarray, predicted: np.ndarray, schema: Schema) -> dict[str, Any]:
    """Return further figures, which the gate does not look at. error_sd: of the error of one row; classes:
    precision and recall of each, what a week's are compared with.
    """
    if not schema.classes:
        squared, spread = sk.root_mean_squared_error(actual, predicted), np.std(np.abs(actual - predicted))
        r2 = float(sk.r2_score(actual, predicted))
        return {"rmse": float(squared), "r2": r2, "error_sd": float(spread)}
    said = predicted.argmax(axis=1)
    figures: dict[str, Any] = {"accuracy": float(sk.accuracy_score(actual, said))}
    if len(schema.classes) == 2 and len(np.unique(actual)) == 2:
        figures["roc_auc"] = float(sk.roc_auc_score(actual, predicted[:, 1]))
    of_truth = np.clip(predicted[np.arange(len(actual)), actual], np.finfo(np.float64).eps, 1)
    figures["error_sd"] = float(np.std(np.log(of_truth)))
    every = list(range(len(schema.classes)))
    each: Any = sk.precision_recall_fscore_support(actual, said, labels=every, zero_division=0)
    figures["classes"] = {
        str(label): {"precision": float(each[0][i]), "recall": float(each[1][i]), "rows": int(each[3][i])}
        for i, label in enumerate(schema.classes)
    }
    return figures


def sentence(facts: dict[str, Any]) -> str:
    """Say in a line how the candidate compares."""
    text = f"{facts['metric']} {facts['error']:.3g} (baseline {facts['baseline']:.3g}"
    return text + (f", live model {facts['live']:.3g})" if "live" in facts else ")")
