"""From a fitted scikit-learn estimator to ONNX: the model that any language can run, and no pickle."""

from contextlib import suppress
from typing import Any

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
from sklearn.base import is_classifier

from .errors import ExportError

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
        return to_onnx(estimator, initial_types=inputs, target_opset=OPSET, options=options)
    except (MissingConverter, MissingShapeCalculator, NotImplementedError, NameError) as error:
        raise ExportError(
            f"model.py's estimator does not export to ONNX: {_first_line(error)}",
            "use linear models, forests, gradient boosting, XGBoost or LightGBM in model.py",
        ) from error


def _first_line(error: Exception) -> str:
    return next((line for line in str(error).splitlines() if line.strip()), repr(error))


def _register_boosting() -> None:
    """Teach skl2onnx XGBoost and LightGBM where they are installed (uv sync --group boosting)."""
    with suppress(ImportError):
        from onnxmltools.convert.xgboost.operator_converters.XGBoost import convert_xgboost
        from xgboost import XGBClassifier, XGBRegressor

        _register(XGBRegressor, XGBClassifier, convert_xgboost, {})
    with suppress(ImportError):
        from lightgbm import LGBMClassifier, LGBMRegressor
        from onnxmltools.convert.lightgbm.operator_converters.LightGbm import convert_lightgbm

        _register(LGBMRegressor, LGBMClassifier, convert_lightgbm, {"split": None})


def _register(regressor: Any, classifier: Any, convert: Any, options: dict) -> None:
    update_registered_converter(regressor, regressor.__name__, regressor_shapes, convert, options=options)
    update_registered_converter(
        classifier, classifier.__name__, classifier_shapes, convert, options=CLASSIFIER_OPTIONS
    )
