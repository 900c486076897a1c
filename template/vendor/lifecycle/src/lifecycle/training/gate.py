"""The gate: what is asked of a candidate. RULES is the table; a class of Rule in pipeline.py can add one."""

import timeit
from dataclasses import dataclass
from math import inf
from typing import Any

import numpy as np
import pandas as pd

from ..data.arrays import from_frame
from ..errors import GateRejected
from ..model.package import FILES
from ..model.predictor import Predictor
from ..settings import Gate
from . import metrics
from .candidate import estimates

ROWS_TIMED = 200
Facts = dict[str, Any]  # what is in metrics.json


class Rule:
    """One thing that is asked of a candidate: that a figure of the facts is at most a threshold.

    id: the setting in params.yaml, section gate. text: what is said where it is not, a format over the facts,
    the threshold and the setting.
    """

    id: str
    figure: str
    text: str

    def threshold(self, facts: Facts, setting: Any) -> float:
        """Return the largest figure that passes."""
        return setting

    def message(self, facts: Facts, gate: Gate) -> str:
        """Return why the candidate is rejected; "" if it passes. NaN never passes."""
        setting = getattr(gate, self.id, None)
        threshold = self.threshold(facts, setting)
        passes = threshold == inf or facts[self.figure] <= threshold
        return "" if passes else self.text.format(threshold=threshold, setting=setting, **facts)


@dataclass
class Limit(Rule):
    """The threshold is the setting; or, with `than`, less than that fact by the setting as a margin."""

    id: str
    figure: str
    text: str
    than: str = ""

    def threshold(self, facts: Facts, setting: float) -> float:
        if not self.than:
            return setting
        return facts[self.than] * (1 - setting) if self.than in facts else inf


BASELINE = "{metric} {error:.4g} is over {threshold:.4g}: the baseline {baseline:.4g}, less {setting:.0%}"
LIVE = (
    "{metric} {error:.4g} is not better than the live model's {live:.4g} ({live_version}) "
    "by {setting:.0%} on the same hold-out"
)
RULES: tuple[Rule, ...] = (
    Limit("margin_over_baseline", "error", BASELINE, than="baseline"),
    Limit("margin_over_live", "error", LIVE, than="live"),
    Limit("parity", "parity", "ONNX differs from the estimator by {parity:.3g}, the limit is {threshold:g}"),
    Limit("max_latency_ms", "latency_ms", "one row takes {latency_ms:.3g} ms, the limit is {threshold:g}"),
    Limit("max_size_mb", "size_mb", "the files take {size_mb:.3g} MB, the limit is {threshold:g}"),
)


def judge(
    candidate: Predictor,
    holdout: pd.DataFrame,
    naive: Any,
    gate: Gate,
    live: Predictor | None = None,
    rules: tuple[Rule, ...] = RULES,
) -> tuple[Facts, list[str]]:
    """Measure a candidate on the hold-out, and compare it with a naive model and the live one.

    holdout: labelled rows, as candidate.write_holdout keeps them. naive: TrainingSet.naive. live: the version
    in production, if there is one. Returns the facts for metrics.json, and the messages of rules that reject.
    """
    schema = candidate.schema
    truth = metrics.truth(holdout[schema.target.name], schema)
    predicted = candidate.predict_arrays(from_frame(holdout, schema.columns))
    facts: Facts = {
        "metric": "log loss" if schema.classes else "MAE",
        "error": metrics.error(truth, predicted),
        "baseline": gate.baseline or metrics.error(truth, metrics.constant(naive, len(truth))),
        "rows": len(holdout),
        "parity": _parity(predicted, estimates(holdout), float(np.std(truth))),
        "latency_ms": _latency_ms(candidate, holdout),
        "size_mb": sum((candidate.folder / name).stat().st_size for name in FILES) / 1e6,
        **metrics.others(truth, predicted, schema),
    }
    messages = []
    try:
        if live:
            if live.schema.classes != schema.classes:
                raise ValueError("other classes")
            theirs = live.predict_arrays(from_frame(holdout, live.schema.columns))
            facts |= {"live": metrics.error(truth, theirs), "live_version": live.version}
    except (KeyError, ValueError) as problem:
        text = f"the live model cannot be scored on this data ({problem}): to replace it unseen, "
        messages.append(text + "set gate.compare_with_live to false in params.yaml for this one release")
    return facts, messages + [text for rule in rules if (text := rule.message(facts, gate))]


def reject(messages: list[str]) -> None:
    """Raise GateRejected with every message, if there are any."""
    if messages:
        lines = ["the gate rejects this candidate:", *(f"  - {message}" for message in messages)]
        raise GateRejected("\n".join(lines), "see docs/runbooks.md#failed-gate")


def _parity(predicted: np.ndarray, estimated: np.ndarray, scale: float) -> float:
    """Return the largest difference: of a probability, or as a share of the target's standard deviation."""
    largest = float(np.max(np.abs(predicted - estimated.reshape(predicted.shape))))
    return largest if predicted.ndim == 2 else largest / (scale or 1.0)


def _latency_ms(predictor: Predictor, holdout: pd.DataFrame) -> float:
    """Return the median milliseconds for one row, as the server predicts it."""
    row = from_frame(holdout.head(1), predictor.schema.columns)
    seconds = timeit.repeat(lambda: predictor.predict_arrays(row), number=1, repeat=ROWS_TIMED)
    return float(np.median(seconds) * 1000)
