"""How good predictions are: the error is MAE for a number and log loss for classes. Less is better."""

from typing import Any

import numpy as np

from ..data.schema import Schema
from ..errors import DataError

EPSILON = float(np.finfo(np.float64).eps)  # least probability in log loss, as scikit-learn's log_loss has it


def truth(target: Any, schema: Schema) -> np.ndarray:
    """Return a target (a pandas Series) as [rows] floats, or as class numbers: places in schema.classes.

    Raises DataError that names classes which training never saw.
    """
    if not schema.classes:
        return target.to_numpy(dtype=np.float64)
    numbers = target.map({label: i for i, label in enumerate(schema.classes)})
    if numbers.isna().any():
        unseen = ", ".join(sorted(map(str, target[numbers.isna()].unique())))
        text = f"the hold-out has classes of {schema.target.name} that training never saw: {unseen}"
        raise DataError(text, "bring more data, or make split.holdout in params.yaml smaller")
    return numbers.to_numpy(dtype=np.int64)


def constant(value: Any, rows: int) -> np.ndarray:
    """Return the naive model's predictions: the same median, or the same class shares, for every row."""
    return np.tile(np.asarray(value, dtype=np.float64), (rows, 1) if np.ndim(value) else rows)


def losses(truth: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    """Return the loss of each row: the absolute error, or minus the log of the true class's probability.

    truth: [rows] floats, or class numbers. predicted: [rows] numbers, or [rows, classes] probabilities.
    """
    if predicted.ndim == 1:
        return np.abs(truth - predicted)
    return -np.log(np.clip(predicted[np.arange(len(truth)), truth], EPSILON, 1))


def error(truth: np.ndarray, predicted: np.ndarray) -> float:
    """Return the mean loss: MAE in the target's unit, or log loss in nats."""
    return float(losses(truth, predicted).mean())


def others(truth: np.ndarray, predicted: np.ndarray, schema: Schema) -> dict[str, Any]:
    """Return further figures, which the gate does not judge by.

    error_sd: standard deviation of one row's loss. classes: precision and recall of each, which a week's are
    compared with. roc_auc is absent where the truth has one value only.
    """
    from sklearn import metrics as sk  # here: checks of production use the loss where it is not installed

    figures: dict[str, Any] = {"error_sd": float(np.std(losses(truth, predicted)))}
    if not schema.classes:
        figures["rmse"] = float(sk.root_mean_squared_error(truth, predicted))
        return figures | {"r2": float(sk.r2_score(truth, predicted))}
    chosen, numbers = predicted.argmax(axis=1), range(len(schema.classes))
    figures["accuracy"] = float(sk.accuracy_score(truth, chosen))
    if len(numbers) == 2 and len(np.unique(truth)) == 2:
        figures["roc_auc"] = float(sk.roc_auc_score(truth, predicted[:, 1]))
    each: Any = sk.precision_recall_fscore_support(truth, chosen, labels=list(numbers), zero_division=0)
    figures["classes"] = {
        str(label): {"precision": float(precision), "recall": float(recall), "rows": int(rows)}
        for label, precision, recall, _, rows in zip(schema.classes, *each, strict=True)
    }
    return figures


def sentence(facts: dict[str, Any]) -> str:
    """Return in a line how the candidate compares, from what the gate measured."""
    text = f"{facts['metric']} {facts['error']:.3g} (baseline {facts['baseline']:.3g}"
    return text + (f", live model {facts['live']:.3g})" if "live" in facts else ")")
