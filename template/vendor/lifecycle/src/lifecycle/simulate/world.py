"""What a month is replayed with: rows to draw traffic from, the model, and the counts of a sliding window."""

from collections import deque
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ..data.arrays import Arrays, from_frame
from ..errors import LifecycleError
from ..model.predictor import Predictor
from ..monitoring.profile import Profile
from ..settings import Settings
from ..training import metrics
from . import faults


@dataclass(frozen=True)
class World:
    """The rows that traffic is drawn from, their labels, the model, its training profile and the settings.

    per_hour: requests in an hour, on average.
    """

    rows: Arrays
    labels: np.ndarray
    predictor: Predictor
    reference: Profile
    settings: Settings
    per_hour: float

    @property
    def deviations(self) -> dict[str, float]:
        """The standard deviation of each numeric column."""
        return {c.name: float(np.nanstd(self.rows[c.name])) for c in faults.numeric(self.predictor.schema)}

    def draw(self, random: np.random.Generator, hours: float) -> tuple[Arrays, np.ndarray]:
        """Return the rows that arrive within so many hours, at least one, and their labels."""
        places = random.integers(0, len(self.labels), max(1, random.poisson(self.per_hour * hours)))
        return {name: values[places] for name, values in self.rows.items()}, self.labels[places]


def build(predictor: Predictor, valid: Path, settings: Settings, per_hour: float) -> World:
    """Return the world of a model and a Parquet file of labelled rows that `validate` has accepted."""
    if not valid.is_file():
        raise LifecycleError(f"{valid} is not here", "make retrain")
    frame = pd.read_parquet(valid)
    rows = from_frame(frame, predictor.schema.columns)
    labels = metrics.truth(frame[predictor.schema.target.name], predictor.schema)
    return World(rows, labels, predictor, Profile.read(predictor.folder), settings, per_hour)


class Window:
    """The counts of the last `steps` steps, kept as a sum: those of a step that leaves are subtracted."""

    def __init__(self, reference: Profile, steps: int) -> None:
        self._reference, self._steps = reference, steps
        self._parts: deque[tuple[dict[str, Any], int]] = deque()
        self.total, self.rejected = reference.empty(), 0

    def add(self, rows: Arrays, predicted: np.ndarray, rejected: int) -> None:
        """Count a step: its accepted rows, their predictions, and how many rows were rejected."""
        part = self._reference.empty()
        if len(predicted):
            part.add(rows, predicted)
        changes = [part.counts_only()]
        self._parts.append((changes[0], rejected))
        self.rejected += rejected
        if len(self._parts) > self._steps:
            old, old_rejected = self._parts.popleft()
            changes.append(_negative(old))
            self.rejected -= old_rejected
        self.total.add_counts(changes)


def _negative(counts: Any) -> Any:
    if isinstance(counts, dict):
        return {key: _negative(item) for key, item in counts.items()}
    return [-each for each in counts] if isinstance(counts, list) else -counts
