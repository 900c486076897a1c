"""A month of traffic, step by step, through the project's own model, profile, drift check and policy."""

from collections import deque
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ..automation.policy import ENDED, RETRAIN, ROLL_BACK, Check, add, decide
from ..data.arrays import Arrays, from_frame
from ..errors import LifecycleError
from ..files import DAY
from ..model.predictor import Predictor
from ..monitoring import drift
from ..monitoring.performance import judge
from ..monitoring.profile import Profile
from ..settings import Settings
from ..training.metrics import losses, truth
from . import faults
from .faults import Fault

START = datetime(2026, 1, 1, tzinfo=UTC).timestamp()
DAYS, FAULT_DAY = 30, 10
HOUR = 3600.0
FAULT_BEGINS = START + FAULT_DAY * DAY


class World:
    """What months are replayed with: rows to draw traffic from, their labels, the model and its profile.

    valid: a Parquet file of labelled rows that `validate` has accepted. per_hour: requests, on average.
    """

    def __init__(self, predictor: Predictor, valid: Path, settings: Settings, per_hour: float) -> None:
        if not valid.is_file():
            raise LifecycleError(f"{valid} is not here", "make retrain")
        frame, self.schema = pd.read_parquet(valid), predictor.schema
        self.predictor, self.settings, self.per_hour = predictor, settings, per_hour
        self.reference = Profile.read(predictor.folder)
        self.rows = from_frame(frame, self.schema.columns)
        self.labels = truth(frame[self.schema.target.name], self.schema)
        self.deviations = {c.name: float(np.nanstd(self.rows[c.name])) for c in faults.numeric(self.schema)}
        usual = losses(self.labels, predictor.predict_arrays(self.rows))
        facts = {"error": usual.mean(), "error_sd": usual.std(), "rows": len(usual), "metric": "error"}
        self.expected = facts  # instead of the gate's: traffic is drawn from these rows

    def draw(self, random: np.random.Generator, hours: float) -> tuple[Arrays, np.ndarray]:
        """Return the rows that arrive within so many hours, at least one, and their labels."""
        places = random.integers(0, len(self.labels), max(1, random.poisson(self.per_hour * hours)))
        return {name: values[places] for name, values in self.rows.items()}, self.labels[places]


class Window:
    """The counts of the last `steps` steps, kept as a sum: those of a step that leaves are subtracted."""

    def __init__(self, reference: Profile, steps: int) -> None:
        self._reference, self.steps = reference, steps
        self._parts: deque[dict[str, Any]] = deque()
        self.total, self.rejected = reference.empty(), 0

    def add(self, rows: Arrays, predicted: np.ndarray, rejected: int) -> None:
        """Count a step: its accepted rows, their predictions, and how many rows were rejected."""
        part = self._reference.empty()
        if len(predicted):
            part.add(rows, predicted)
        self._parts.append(part.counts_only() | {"rejected": rejected})
        changes = [self._parts[-1]]
        if len(self._parts) > self.steps:
            changes.append(_negative(self._parts.popleft()))
        self.rejected += self.total.add_counts(changes)


def _negative(counts: Any) -> Any:
    if isinstance(counts, dict):
        return {key: _negative(item) for key, item in counts.items()}
    return [-each for each in counts] if isinstance(counts, list) else -counts


@dataclass(frozen=True)
class Event:
    """What a check found and what was done, if other than the check before. day: since the month began."""

    day: float
    found: str
    did: str
    why: str
    alert: bool


@dataclass
class Month:
    """What happened in a month. ks: for each check the day and the largest KS distance of a feature."""

    fault: Fault
    checks: int = 0
    alerts: int = 0
    retrained: int = 0
    events: list[Event] = field(default_factory=list)
    ks: list[tuple[float, float]] = field(default_factory=list)

    @property
    def first(self) -> Event | None:
        """The first reaction after the fault began."""
        return next((e for e in self.events if e.did != "nothing" and e.day >= FAULT_DAY), None)


class Replay:
    """A month with its fault from the tenth day: the version that serves, its counts and losses, the checks.

    minutes: between two checks.
    """

    def __init__(self, world: World, fault: Fault, minutes: float, seed: int) -> None:
        self.world, self.month, self.minutes = world, Month(fault), minutes
        self.random, self.settings = np.random.default_rng(seed), world.settings
        self.window = Window(world.reference, round(self.settings.drift.window_hours * 60 / minutes))
        self.losses: deque[tuple[float, np.ndarray]] = deque()  # when rows were served, and their losses
        self.checks: list[Check] = []
        self.version, self.released, self.retrained_at = "v1", 0.0, -np.inf
        self.was_released = False

    def run(self) -> Month:
        """Replay the month; what is served before it begins fills the window."""
        for step in range(-self.window.steps, round(DAYS * 24 * 60 / self.minutes)):
            now = START + step * self.minutes * 60
            self.serve(now)
            if step >= 0:
                self.check(now)
        return self.month

    def serve(self, now: float) -> None:
        """Answer the requests since the last step, and count them as the server does."""
        fault, world, begun = self.month.fault, self.world, now >= FAULT_BEGINS
        schema = world.schema
        if fault.kind == "release" and begun and not self.was_released:
            self.version, self.released, self.was_released = "v2", now, True
        rows, labels = world.draw(self.random, self.minutes / 60)
        if begun:
            rows = faults.apply(fault, rows, schema, world.deviations, self.random)
            labels = faults.truth(fault, labels, len(schema.classes), self.random)
        accepted = np.logical_and.reduce([c.accepts(rows[c.name]) for c in schema.columns])
        rows, predicted = {name: values[accepted] for name, values in rows.items()}, np.empty(0)
        if accepted.any():
            read = faults.as_read_by_faulty_release(rows, schema) if self.version == "v2" else rows
            predicted = world.predictor.predict_arrays(read)
            self.losses.append((now, losses(labels[accepted], predicted)))
        self.window.add(rows, predicted, int((~accepted).sum()))

    def check(self, now: float) -> None:
        """Check what was served, decide by the policy, act, and record what is new about it."""
        month, settings, day = self.month, self.settings, (now - START) / DAY
        verdict = drift.judge(self.world.reference, self.window.total, self.window.rejected, settings.drift)
        month.ks.append((day, max((f.ks for f in verdict.features), default=0.0)))
        facts = verdict.verdict, self._performance(now), "", verdict.why, self.released
        check = Check(self.version, now, *facts)
        action = decide([*self.checks, check], settings.policy, now, False)
        self.checks = add(self.checks, check, action)
        month.checks += 1
        month.alerts += action.alert
        if action.do == RETRAIN and now - self.retrained_at >= settings.retrain.cooldown_hours * HOUR:
            self.retrained_at = now
            month.retrained += 1
        elif action.do == ROLL_BACK:
            self.version, self.released = "v1", 0.0
            self.losses.clear()
        found = f"{check.drift}, performance worse" if check.performance == "worse" else check.drift
        last = month.events[-1] if month.events else None
        did = ENDED if action.cause == ENDED else action.do
        if not last or (last.found, last.did) != (found, did) or action.alert:
            why = action.why if action.cause != "performance" else "the error on labelled rows has risen"
            month.events.append(Event(day, found, did, why, action.alert))

    def _performance(self, now: float) -> str:
        """Return the verdict on the version's rows of the last window whose labels have arrived."""
        newest = now - self.month.fault.delay * DAY
        while self.losses and self.losses[0][0] < newest - self.settings.drift.window_hours * HOUR:
            self.losses.popleft()
        known = [loss for at, loss in self.losses if self.released <= at <= newest]
        loss = np.concatenate(known) if known else np.empty(0)
        return judge(loss, self.world.expected, self.settings.performance).verdict
