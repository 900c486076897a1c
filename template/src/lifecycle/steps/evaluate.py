"""evaluate: the gate. A candidate that passes is sealed with its manifest; any other goes no further."""

import json
import time
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from .. import columns, estimator, settings
from ..candidate import FILES, MANIFEST, seal
from ..errors import GateRejected, LifecycleError
from ..project import CANDIDATE, HOLDOUT, METRICS, TRAINING, write_text
from ..registry.contract import live_model
from ..serving.predictor import Predictor

ROWS_TIMED = 200
SMOKE_ROWS = 21  # one for health, twenty for a release


def run() -> str:
    """Judge the candidate on the hold-out; GateRejected lists every rule it breaks."""
    if not (TRAINING.is_file() and HOLDOUT.is_file()):
        raise LifecycleError(f"{TRAINING} is not here", "run: uv run lifecycle train")
    (CANDIDATE / MANIFEST).unlink(missing_ok=True)  # the old seal says nothing about this judgement
    gate = settings.load().gate
    training = json.loads(TRAINING.read_text(encoding="utf-8"))
    holdout = pd.read_parquet(HOLDOUT)
    predictor = Predictor(CANDIDATE)
    facts, faults = judge(predictor, holdout, training["naive"], gate)
    if gate.compare_with_live and (live := live_model()):
        faults += compare_with_live(facts, live, predictor, holdout, gate)
    write_text(METRICS, columns.to_json(facts))
    if faults:
        raise GateRejected(
            "the gate rejects this candidate:\n" + "\n".join(f"  - {fault}" for fault in faults),
            "see docs/runbooks/failed-gate.md",
        )
    lineage = {key: training[key] for key in ("git_commit", "data_hash", "lock_hash", "params")}
    manifest = seal(
        CANDIDATE,
        datetime.fromisoformat(training["created"]),
        metrics=facts,
        **examples(predictor, holdout),
        **lineage,
    )
    return f"{estimator.sentence(facts)}: passed as {manifest.version}"


def judge(
    predictor: Predictor, holdout: pd.DataFrame, naive: Any, gate: settings.Gate
) -> tuple[dict[str, Any], list[str]]:
    """Return the facts for metrics.json, and a sentence for each rule that the candidate breaks."""
    schema = predictor.schema
    truth = estimator.truth(holdout[schema.target.name], schema)
    predicted = predictor.predict_arrays(columns.from_frame(holdout, schema.columns))
    baseline = gate.baseline or estimator.error(truth, estimator.constant(naive, len(truth)), schema)
    facts: dict[str, Any] = {
        "metric": estimator.metric(schema),
        "error": estimator.error(truth, predicted, schema),
        "baseline": baseline,
        "rows": len(holdout),
        "parity": parity(predicted, holdout, float(np.std(truth))),
        "latency_ms": latency_ms(predictor, holdout),
        "size_mb": sum((predictor.folder / name).stat().st_size for name in FILES) / 1e6,
        **estimator.others(truth, predicted, schema),
    }
    most = baseline * (1 - gate.margin_over_baseline)
    faults = []
    if not facts["error"] <= most:
        faults.append(
            f"{facts['metric']} {facts['error']:.4g} is over {most:.4g}, "
            f"the baseline {baseline:.4g} less the margin of {gate.margin_over_baseline:.0%}"
        )
    for key, limit, what in (
        ("parity", gate.parity, "ONNX differs from the estimator by"),
        ("latency_ms", gate.max_latency_ms, "one row takes (ms)"),
        ("size_mb", gate.max_size_mb, "the files take (MB)"),
    ):
        if not facts[key] <= limit:
            faults.append(f"{what} {facts[key]:.3g}, the limit is {limit:g}")
    return facts, faults


def compare_with_live(
    facts: dict[str, Any],
    live: Path,
    candidate: Predictor,
    holdout: pd.DataFrame,
    gate: settings.Gate,
) -> list[str]:
    """Score the live model on the same hold-out; return a fault when the candidate is not better."""
    truth = estimator.truth(holdout[candidate.schema.target.name], candidate.schema)
    try:
        predictor = Predictor(live)
        if predictor.schema.classes != candidate.schema.classes:
            raise KeyError("other classes")
        arrays = columns.from_frame(holdout, predictor.schema.columns)
        error = estimator.error(truth, predictor.predict_arrays(arrays), candidate.schema)
    except (KeyError, ValueError) as problem:
        return [
            f"the live model cannot be scored on this data ({problem}): to replace it unseen, "
            "set gate.compare_with_live to false in params.yaml for this one release"
        ]
    facts |= {"live": error, "live_version": predictor.version}
    most = error * (1 - gate.margin_over_live)
    if facts["error"] <= most:
        return []
    return [
        f"{facts['metric']} {facts['error']:.4g} is not better than the live model's {error:.4g} "
        f"({predictor.version}) by {gate.margin_over_live:.0%} on the same hold-out"
    ]


def parity(predicted: np.ndarray, holdout: pd.DataFrame, scale: float) -> float:
    """Return the largest difference from the estimator: of a probability, or as a share of scale."""
    names = [f"__estimate_{i}" for i in range(predicted.shape[1] if predicted.ndim == 2 else 1)]
    estimate = holdout[names].to_numpy().reshape(predicted.shape)
    largest = float(np.max(np.abs(predicted - estimate)))
    return largest if predicted.ndim == 2 else largest / (scale or 1.0)


def latency_ms(predictor: Predictor, holdout: pd.DataFrame) -> float:
    """Return the median milliseconds for one row, as the server predicts it."""
    arrays = columns.from_frame(holdout.head(1), predictor.schema.columns)
    seconds = []
    for _ in range(ROWS_TIMED):
        start = time.perf_counter()
        predictor.predict_arrays(arrays)
        seconds.append(time.perf_counter() - start)
    return float(np.median(seconds) * 1000)


def examples(predictor: Predictor, holdout: pd.DataFrame) -> dict[str, Any]:
    """Return rows as requests, and what the model answers: health predicts one, a release all of them."""
    names = [column.name for column in predictor.schema.columns]
    complete = holdout.dropna(subset=names)
    rows = (complete if len(complete) else holdout)[names]
    chosen = rows.iloc[np.unique(np.linspace(0, len(rows) - 1, SMOKE_ROWS).astype(int))]
    requests = json.loads(chosen.to_json(orient="records", date_format="iso"))
    pairs = [{"row": row, "prediction": predictor.predict([row])[0]} for row in requests]
    return {"fixture": pairs[-1], "smoke": pairs[:-1]}
