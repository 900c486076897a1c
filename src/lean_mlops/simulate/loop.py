"""One month of traffic, hour by hour, through the project's own model, profile, drift check and policy."""

from collections import deque
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

import numpy as np

from lifecycle.monitoring import drift, policy
from lifecycle.monitoring.judgement import judge_losses
from lifecycle.monitoring.policy import NOTHING, RETRAIN, ROLL_BACK, Action, Check

from . import faults
from .faults import Fault
from .world import Window, World

START = datetime(2026, 1, 1, tzinfo=UTC).timestamp()
DAYS, FAULT_DAY = 30, 10
HOUR, DAY = 3600.0, 86_400.0
FAULT_BEGINS = START + FAULT_DAY * DAY


@dataclass(frozen=True)
class Event:
    """What was found and done, when it was another thing than before; day: since the month began."""

    day: float
    found: str
    did: str
    why: str
    alert: bool


@dataclass
class Month:
    """What happened in a month. ks: for each check the day and the largest KS distance."""

    fault: Fault
    checks: int = 0
    alerts: int = 0
    retrained: int = 0
    events: list[Event] = field(default_factory=list)
    ks: list[tuple[float, float]] = field(default_factory=list)

    def note(self, found: Check, action: Action, starts: bool) -> None:
        self.checks += 1
        self.alerts += action.alert
        self.retrained += starts
        words = f"{found.drift}, performance worse" if found.performance == "worse" else found.drift
        last = self.events[-1] if self.events else None
        if not last or (last.found, last.did) != (words, action.do) or action.alert:
            why = action.why if action.cause != "performance" else "the labels that came say so"
            event = Event((found.at - START) / DAY, words, action.do, why, action.alert)
            self.events.append(event)

    @property
    def first(self) -> Event | None:
        """Return the first reaction after the fault began."""
        return next((e for e in self.events if e.did != NOTHING and e.day >= FAULT_DAY), None)


def live_through(world: World, fault: Fault, minutes: float, seed: int) -> Month:
    """Live through a month that begins well and gets its fault on the tenth day; minutes: between checks."""
    loop = Loop(world, Month(fault), minutes / 60, np.random.default_rng(seed))
    first = -round(world.settings.drift.window_hours * 60 / minutes)
    for step in range(first, round(DAYS * 24 * 60 / minutes)):
        now = START + step * minutes * 60
        loop.serve(now)
        if step >= 0:
            loop.look(now)
    return loop.month


class Loop:
    """What serves, what was counted, and what was decided so far."""

    def __init__(self, world: World, month: Month, hours: float, dice: np.random.Generator) -> None:
        self.world, self.month, self.hours, self.dice = world, month, hours, dice
        self.schema, self.bars = world.predictor.schema, world.settings
        self.window = Window(world.reference, round(self.bars.drift.window_hours / hours))
        self.errors: deque[tuple[float, np.ndarray]] = deque()  # when rows were served, and their errors
        errors = world.errors(world.labels, world.predictor.predict_arrays(world.rows))
        facts = {"error": errors.mean(), "error_sd": errors.std(), "rows": len(errors), "metric": "error"}
        self.expected = facts  # of the rows that traffic is drawn from
        self.checks: list[Check] = []
        self.version, self.released, self.asked = "v1", 0.0, -np.inf
        self.was_released = False

    def serve(self, now: float) -> None:
        """Answer the requests since the last check, and count them as the server does."""
        fault, begun = self.month.fault, now >= FAULT_BEGINS
        if fault.kind == "release" and begun and not self.was_released:
            self.version, self.released, self.was_released = "v2", now, True
        rows, labels = self.world.draw(self.dice, self.hours)
        if begun:
            rows = faults.apply(fault, rows, self.schema, self.world.deviations, self.dice)
            labels = faults.truth(fault, labels, len(self.schema.classes), self.dice)
        good = faults.valid(rows, self.schema)
        rows = {name: values[good] for name, values in rows.items()}
        predicted = np.empty(0)
        if good.any():
            read = faults.lame(rows, self.schema) if self.version == "v2" else rows
            predicted = self.world.predictor.predict_arrays(read)
            self.errors.append((now, self.world.errors(labels[good], predicted)))
        self.window.add(rows, predicted, int((~good).sum()))

    def look(self, now: float) -> None:
        """Check, decide, and do what was decided."""
        verdict = drift.judge(self.world.reference, self.window.total, self.window.rejected, self.bars.drift)
        furthest = max((feature.ks for feature in verdict.features), default=0.0)
        self.month.ks.append(((now - START) / DAY, furthest))
        found = Check(self.version, now, verdict.verdict, self.measured(now), why=verdict.why)
        self.react(replace(found, released=self.released))

    def react(self, found: Check) -> None:
        bars = self.bars
        action = policy.decide([*self.checks, found], bars.policy, found.at, replayed=False)
        told = found.at if action.alert else 0.0
        self.checks = policy.add(self.checks, replace(found, cause=action.cause, did=action.do, alerted=told))
        starts = action.do == RETRAIN and found.at - self.asked >= bars.retrain.cooldown_hours * HOUR
        self.asked = found.at if starts else self.asked
        self.month.note(found, action, starts)
        if action.do == ROLL_BACK:
            self.version, self.released = "v1", 0.0
            self.errors.clear()

    def measured(self, now: float) -> str:
        """Judge the error of the version's rows of the last window whose labels have come."""
        oldest = now - self.month.fault.delay * DAY - self.bars.drift.window_hours * HOUR
        while self.errors and self.errors[0][0] < oldest:
            self.errors.popleft()
        newest = now - self.month.fault.delay * DAY
        known = [errors for at, errors in self.errors if self.released <= at <= newest]
        errors = np.concatenate(known) if known else np.empty(0)
        return judge_losses(errors, self.expected, self.bars.performance).verdict
