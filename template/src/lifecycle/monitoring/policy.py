"""What to do about what was found: a pure function from the checks so far and the time to an action.

The first rule that fits decides, so that each action has one reason:

| found                                                             | done                                   |
| errors or latency worse, not long after a release                 | roll back                              |
| broken data                                                       | alert; nothing retrains                |
| measured performance worse, not long after a release              | roll back                              |
| drift, several checks in a row, where the user asked for it       | roll back if the version before scores |
|                                                                   | better on the same rows; else retrain  |
| measured performance worse, or drift                              | alert, retrain (with the cooldown)     |
| errors or latency worse, long after a release                     | alert                                  |
| any of these in a maintenance window                              | nothing; it is recorded                |

"After a release" means after a promotion: what a rollback has put back is not rolled back again.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from ..sections import Policy, window_of

NOTHING, ALERT, RETRAIN, ROLL_BACK = "nothing", "alert", "retrain", "roll back"
HELD_BACK = "held back"  # in a maintenance window
KEPT = 60  # runs of checks that found the same
OFTEN = 3600  # seconds after which a check that found nothing new is written down all the same


@dataclass(frozen=True)
class Check:
    """A look at production, or several in a row that found the same. Times are seconds since 1970.

    drift: a word of drift.Verdict; performance: "same", "worse" or "insufficient data"; service: "worse" when
    Prometheus says so of errors or latency; each "" where nobody looked. released: when the version was
    promoted, 0.0 if a rollback put it back or none is before it. alerted: when a person was last told.
    ks: the features furthest from training, kept of the last look at them only.
    """

    version: str
    at: float
    drift: str = ""
    performance: str = ""
    service: str = ""
    why: str = ""
    released: float = 0.0
    since: float = 0.0
    times: int = 1
    cause: str = ""
    did: str = NOTHING
    alerted: float = 0.0
    ks: dict[str, float] = field(default_factory=dict)

    def same_as(self, other: "Check") -> bool:
        names = ("version", "released", "drift", "performance", "service", "cause", "did")
        return all(getattr(self, name) == getattr(other, name) for name in names)


@dataclass(frozen=True)
class Action:
    """do: nothing, alert, retrain, roll back, held back. alert: whether a person is told of it now.

    replay: roll back only if the version before scores better on the rows of the same window; else retrain.
    """

    do: str = NOTHING
    cause: str = ""
    why: str = ""
    alert: bool = False
    replay: bool = False


def decide(checks: Sequence[Check], bars: Policy, now: float, replayed: bool | None = None) -> Action:
    """Return what to do after the last of the checks, the oldest first.

    replayed: whether the version before scored better, once an action with `replay` was followed.
    """
    action = _wanted(checks, bars, now)
    if action.replay and replayed is not None:
        action = replace(action, do=ROLL_BACK if replayed else RETRAIN, replay=False)
    if action.do == NOTHING:
        return action
    if window := window_of(bars.maintenance, now):
        return replace(action, do=HELD_BACK, why=f"{action.do}, but for maintenance ({window}): {action.why}")
    version, recent = checks[-1].version, now - bars.repeat_hours * 3600
    told = (c for c in checks if c.version == version and c.cause == action.cause and c.did != HELD_BACK)
    # Another action is told however soon it comes after an alert of the same cause.
    return replace(action, alert=not any(c.alerted > recent and c.did == action.do for c in told))


def _wanted(checks: Sequence[Check], bars: Policy, now: float) -> Action:
    last = checks[-1]
    fresh = last.released > 0 and now - last.released <= bars.release_hours * 3600
    if last.service == "worse":
        return Action(ROLL_BACK if fresh else ALERT, "service", last.why)
    if last.drift == "broken data":
        return Action(ALERT, "broken data", last.why)
    if last.performance == "worse":
        return Action(ROLL_BACK if fresh else RETRAIN, "performance", last.why)
    if last.drift == "drift":
        ask = bars.rollback_on_drift and last.released > 0 and persistent(checks, bars)
        return Action(ROLL_BACK if ask else RETRAIN, "drift", last.why, replay=ask)
    return Action(why=last.why)


def persistent(checks: Sequence[Check], bars: Policy) -> bool:
    """Say whether the last drift verdicts are enough in a row, in enough checks of this version.

    Too few rows to tell neither add to the row nor end it.
    """
    ours = [check for check in checks if check.version == checks[-1].version]
    row = 0
    for check in reversed(ours):
        if check.drift == "drift":
            row += check.times
        elif check.drift in ("no drift", "broken data"):
            break
    return row >= bars.drifts_in_a_row and sum(check.times for check in ours) >= bars.least_checks


def add(checks: Sequence[Check], new: Check) -> list[Check]:
    """Return the checks with one more: it joins the last one if it found the same and led to the same."""
    last = checks[-1] if checks else None
    if last and last.same_as(new):
        told = max(last.alerted, new.alerted)
        joined = replace(new, since=last.since, times=last.times + 1, alerted=told)
        return [*checks[:-1], joined]
    older = [replace(check, ks={}) for check in checks] if new.drift else checks
    return [*older, replace(new, since=new.at)][-KEPT:]


def worth_writing(before: Sequence[Check], after: Sequence[Check], bars: Policy) -> bool:
    """Say whether a store should hear of the last check: not of the hundredth quiet one of a day."""
    last, known = after[-1], before[-1] if before else None
    if known is None or known.since != last.since or not known.same_as(last):
        return True
    few = last.times <= max(bars.least_checks, bars.drifts_in_a_row)
    return few or last.alerted != known.alerted or last.at - known.at >= OFTEN
