"""One month of traffic, step by step, through the project's own model, profile, drift check and policy."""

from collections import deque
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

import numpy as np

from ..automation.policy import RETRAIN, ROLL_BACK, Action, Check, add, decide
from ..files import DAY
from ..monitoring import drift
from ..monitoring.performance import judge
from ..training.metrics import losses
from . import faults
from .faults import Fault
from .world import Window, World

START = datetime(2026, 1, 1, tzinfo=UTC).timestamp()
DAYS, FAULT_DAY = 30, 10
HOUR = 3600.0
FAULT_BEGINS = START + FAULT_DAY * DAY


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

    def record(self, check: Check, action: Action, retrains: bool) -> None:
        """Count a check and the action of the policy, and keep what is new about them."""
        self.checks += 1
        self.alerts += action.alert
        self.retrained += retrains
        found = f"{check.drift}, performance worse" if check.performance == "worse" else check.drift
        last = self.events[-1] if self.events else None
        if not last or (last.found, last.did) != (found, action.do) or action.alert:
            why = action.why if action.cause != "performance" else "the error on labelled rows has risen"
            self.events.append(Event((check.at - START) / DAY, found, action.do, why, action.alert))

    @property
    def first(self) -> Event | None:
        """The first reaction after the fault began."""
        return next((e for e in self.events if e.did != "nothing" and e.day >= FAULT_DAY), None)


def replay_month(world: World, fault: Fault, minutes: float, seed: int) -> Month:
    """Replay a month that gets its fault on the tenth day. minutes: between two checks."""
    replay = Replay(world, Month(fault), minutes / 60, np.random.default_rng(seed))
    first = -round(world.settings.drift.window_hours * 60 / minutes)  # fills the window before the month
    for step in range(first, round(DAYS * 24 * 60 / minutes)):
        now = START + step * minutes * 60
        replay.serve(now)
        if step >= 0:
            replay.check(now)
    return replay.month


class Replay:
    """The state of a replayed month: the version that serves, its counts and losses, the checks so far."""

    def __init__(self, world: World, month: Month, hours: float, random: np.random.Generator) -> None:
        self.world, self.month, self.hours, self.random = world, month, hours, random
        self.schema, self.settings = world.predictor.schema, world.settings
        self.window = Window(world.reference, round(self.settings.drift.window_hours / hours))
        self.losses: deque[tuple[float, np.ndarray]] = deque()  # when rows were served, and their losses
        usual = losses(world.labels, world.predictor.predict_arrays(world.rows))
        facts = {"error": usual.mean(), "error_sd": usual.std(), "rows": len(usual), "metric": "error"}
        self.expected = facts  # instead of the gate's: traffic is drawn from these rows
        self.checks: list[Check] = []
        self.version, self.released, self.retrained_at = "v1", 0.0, -np.inf
        self.was_released = False

    def serve(self, now: float) -> None:
        """Answer the requests since the last step, and count them as the server does."""
        fault, begun = self.month.fault, now >= FAULT_BEGINS
        if fault.kind == "release" and begun and not self.was_released:
            self.version, self.released, self.was_released = "v2", now, True
        rows, labels = self.world.draw(self.random, self.hours)
        if begun:
            rows = faults.apply(fault, rows, self.schema, self.world.deviations, self.random)
            labels = faults.truth(fault, labels, len(self.schema.classes), self.random)
        accepted = np.logical_and.reduce([c.accepts(rows[c.name]) for c in self.schema.columns])
        rows, predicted = {name: values[accepted] for name, values in rows.items()}, np.empty(0)
        if accepted.any():
            read = faults.as_read_by_faulty_release(rows, self.schema) if self.version == "v2" else rows
            predicted = self.world.predictor.predict_arrays(read)
            self.losses.append((now, losses(labels[accepted], predicted)))
        self.window.add(rows, predicted, int((~accepted).sum()))

    def check(self, now: float) -> None:
        """Check what was served, decide by the policy, and act."""
        window, settings = self.window, self.settings
        verdict = drift.judge(self.world.reference, window.total, window.rejected, settings.drift)
        self.month.ks.append(((now - START) / DAY, max((f.ks for f in verdict.features), default=0.0)))
        facts = verdict.verdict, self._performance(now), "", verdict.why, self.released
        check = Check(self.version, now, *facts)
        action = decide([*self.checks, check], settings.policy, now, False)
        alerted = now if action.alert else 0.0
        self.checks = add(self.checks, replace(check, cause=action.cause, did=action.do, alerted=alerted))
        cooled_down = now - self.retrained_at >= settings.retrain.cooldown_hours * HOUR
        retrains = action.do == RETRAIN and cooled_down
        self.retrained_at = now if retrains else self.retrained_at
        self.month.record(check, action, retrains)
        if action.do == ROLL_BACK:
            self.version, self.released = "v1", 0.0
            self.losses.clear()

    def _performance(self, now: float) -> str:
        """Return the verdict on the version's rows of the last window whose labels have arrived."""
        newest = now - self.month.fault.delay * DAY
        while self.losses and self.losses[0][0] < newest - self.settings.drift.window_hours * HOUR:
            self.losses.popleft()
        known = [loss for at, loss in self.losses if self.released <= at <= newest]
        loss = np.concatenate(known) if known else np.empty(0)
        return judge(loss, self.expected, self.settings.performance).verdict
