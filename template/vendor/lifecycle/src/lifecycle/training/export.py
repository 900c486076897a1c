"""From an estimator to ONNX, which any language can run; there is no pickle."""

from contextlib import suppress
from typing import Any

import numpy as np
from onnx import ModelProto
from skl2onnx import to_onnx
from skl2onnx import update_registered_converter as register
from skl2onnx.common import shape_calculator
from skl2onnx.common.data_types import FloatTensorType, StringTensorType
from skl2onnx.common.exceptions import MissingConverter, MissingShapeCalculator
from sklearn.base import is_classifier

from ..data.arrays import Arrays
from ..data.schema import Schema
from ..errors import ExportError, LifecycleError
from .dataset import Build, to_inputs

OPSET = {"": 17, "ai.onnx.ml": 3}  # what skl2onnx, onnxmltools and onnxruntime all know
REGRESSOR = shape_calculator.calculate_linear_regressor_output_shapes
CLASSIFIER = shape_calculator.calculate_linear_classifier_output_shapes
CLASSIFIER_OPTIONS = {"zipmap": [True, False, "columns"], "nocl": [True, False]}


def check_task(estimator: Any, schema: Schema) -> None:
    """Raise LifecycleError when model.py builds a regressor for a classification, or the other way round."""
    if is_classifier(estimator) != (schema.task == "classification"):
        raise LifecycleError(f"schema.py says {schema.task}, but model.py builds another kind")


def predict(estimator: Any, build: Build, columns: Arrays) -> np.ndarray:
    """Predict columns by a fitted estimator, as Predictor.predict_arrays does by ONNX."""
    inputs = to_inputs(columns, build)
    if is_classifier(estimator):
        return estimator.predict_proba(inputs)
    return np.asarray(estimator.predict(inputs), dtype=np.float64)


def to_model(estimator: Any, numbers: list[str], categories: list[str]) -> ModelProto:
    """Export a fitted estimator; each column is an input [rows, 1]. Raises ExportError with the cause."""
    _register_boosting()
    inputs = [(name, FloatTensorType([None, 1])) for name in numbers]
    inputs += [(name, StringTensorType([None, 1])) for name in categories]
    last = estimator.steps[-1][1] if hasattr(estimator, "steps") else estimator
    options = {id(last): {"zipmap": False}} if is_classifier(last) else None
    try:
        model = to_onnx(estimator, initial_types=inputs, target_opset=OPSET, options=options)
    except (MissingConverter, MissingShapeCalculator, NotImplementedError, NameError) as error:
        first_line = next((line for line in str(error).splitlines() if line.strip()), repr(error))
        raise ExportError(
            f"model.py's estimator does not export to ONNX: {first_line}",
            "use linear models, forests, gradient boosting, XGBoost or LightGBM in model.py",
        ) from error
    # They come from a set, in any order: the same model should be the same bytes.
    model.opset_import.sort(key=lambda opset: opset.domain)
    return model


def _register_boosting() -> None:
    """Make skl2onnx know XGBoost and LightGBM where they are installed (uv sync --group boosting)."""
    with suppress(ImportError):
        from onnxmltools.convert.xgboost.operator_converters.XGBoost import convert_xgboost
        from xgboost import XGBClassifier, XGBRegressor

        register(XGBRegressor, "XGBRegressor", REGRESSOR, convert_xgboost)
        register(XGBClassifier, "XGBClassifier", CLASSIFIER, convert_xgboost, options=CLASSIFIER_OPTIONS)
    with suppress(ImportError, OSError):  # OSError: it is installed, and the machine has no libgomp.so.1
        from lightgbm import LGBMClassifier, LGBMRegressor
        from onnxmltools.convert.lightgbm.operator_converters.LightGbm import convert_lightgbm

        register(LGBMRegressor, "LGBMRegressor", REGRESSOR, convert_lightgbm, options={"split": None})
        register(LGBMClassifier, "LGBMClassifier", CLASSIFIER, convert_lightgbm, options=CLASSIFIER_OPTIONS)
