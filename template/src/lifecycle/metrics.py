"""How good: MAE for a number, log loss for classes. Of both, less is better."""

from typing import Any

import numpy as np
import pandas as pd
from sklearn import metrics as sk

from .columns import Schema
from .errors import DataError


def name(schema: Schema) -> str:
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


def others(actual: np.ndarray, predicted: np.ndarray, schema: Schema) -> dict[str, float]:
    """Return the further figures that people ask for; the gate does not look at them."""
    if not schema.classes:
        squared = sk.root_mean_squared_error(actual, predicted)
        return {"rmse": float(squared), "r2": float(sk.r2_score(actual, predicted))}
    figures = {"accuracy": float(sk.accuracy_score(actual, predicted.argmax(axis=1)))}
    if len(schema.classes) == 2 and len(np.unique(actual)) == 2:
        figures["roc_auc"] = float(sk.roc_auc_score(actual, predicted[:, 1]))
    return figures


def sentence(facts: dict[str, Any]) -> str:
    """Say in a line how the candidate compares."""
    text = f"{facts['metric']} {facts['error']:.3g} (baseline {facts['baseline']:.3g}"
    return text + (f", live model {facts['live']:.3g})" if "live" in facts else ")")
