"""What a month is lived through with: rows to draw traffic from, the model, the counts of a window."""

from collections import deque
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from lifecycle import columns, estimator
from lifecycle.columns import Arrays
from lifecycle.monitoring.judgement import losses
from lifecycle.monitoring.profile import Profile
from lifecycle.serving.predictor import Predictor
from lifecycle.settings import Settings

from . import faults


@dataclass(frozen=True)
class World:
    """The rows that traffic is drawn from, their labels, and the model that answers."""

    rows: Arrays
    labels: np.ndarray
    predictor: Predictor
    reference: Profile
    settings: Settings
    per_hour: float

    @property
    def deviations(self) -> dict[str, float]:
        return {c.name: float(np.nanstd(self.rows[c.name])) for c in faults.numeric(self.predictor.schema)}

    def draw(self, dice: np.random.Generator, hours: float) -> tuple[Arrays, np.ndarray]:
        """Return the rows that come within so many hours, one at least, and their labels."""
        places = dice.integers(0, len(self.labels), max(1, dice.poisson(self.per_hour * hours)))
        return {name: values[places] for name, values in self.rows.items()}, self.labels[places]

    def errors(self, labels: np.ndarray, predicted: np.ndarray) -> np.ndarray:
        """Return each row's part of the error that evaluate gives as a mean."""
        return losses(labels.astype(int) if self.predictor.schema.classes else labels, predicted)


def build(folder: Path, frame: pd.DataFrame, settings: Settings, per_hour: float) -> World:
    """Build the world from a version's folder and a frame of labelled rows."""
    predictor = Predictor(folder)
    arrays = columns.from_frame(frame, predictor.schema.columns)
    labels = estimator.truth(frame[predictor.schema.target.name], predictor.schema)
    return World(arrays, labels, predictor, Profile.read(folder), settings, per_hour)


class Window:
    """The counts of the last so many steps, kept as a sum: what leaves is subtracted."""

    def __init__(self, reference: Profile, steps: int) -> None:
        self._reference, self._steps = reference, steps
        self._parts: deque[tuple[Profile, int]] = deque()
        self.total, self.rejected = reference.empty(), 0

    def add(self, rows: Arrays, predicted: np.ndarray, rejected: int) -> None:
        part = self._reference.empty()
        if len(predicted):
            part.add(rows, predicted)
        self._parts.append((part, rejected))
        self.total.merge(part)
        self.rejected += rejected
        if len(self._parts) > self._steps:
            old, refused = self._parts.popleft()
            self.total.merge(_negative(old))
            self.rejected -= refused


def _negative(part: Profile) -> Profile:
    features = {
        name: {**item, "counts": [-n for n in item["counts"]], "missing": -item["missing"]}
        for name, item in part.features.items()
    }
    return Profile(features, -part.rows, part.classes)
