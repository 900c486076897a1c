"""The policy: one function from the checks so far and the time to an action.

The first rule that fits decides, so that each action has one reason:

| found                                                             | done                                   |
| errors or latency worse, not long after a release                 | roll back                              |
| broken data                                                       | alert; nothing retrains                |
| measured performance worse, not long after a release              | roll back                              |
| drift, several checks in a row, where params.yaml asks for it     | roll back if the version before scores |
|                                                                   | better on the same rows; else retrain  |
| measured performance worse, or drift                              | alert, retrain (with the cooldown)     |
| errors or latency worse, long after a release                     | alert                                  |
| any of these in a maintenance window                              | nothing; it is recorded                |

"After a release" means after a promotion: what a rollback has put back is not rolled back again.

People are alerted when a cause begins, after policy.repeat_hours, and after twice as long each next time,
up to a week; and when it has ended, which policy.drifts_in_a_row checks in a row have to find.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import takewhile

from ..maintenance import window_of
from ..settings import Policy

NOTHING, ALERT, RETRAIN, ROLL_BACK = "nothing", "alert", "retrain", "roll back"
HELD_BACK = "held back"  # in a maintenance window
RULE = "by the rule of that name in observability/rules.yml"  # how sure an alert of Prometheus is
ENDED = "ended"  # the cause of the alert that a cause has ended
LONGEST_HOURS = 168  # between two alerts of the same cause: a person looks again at least once a week
KEPT = 60  # entries, each of one check or of several in a row that found the same


@dataclass(frozen=True)
class Check:
    """A check of production, or several in a row that found the same. Times are seconds since 1970.

    drift: a verdict of drift.Verdict; performance: "same", "worse" or "insufficient data"; service: "worse"
    when Prometheus says so of errors or latency; each "" where it was not checked. released: when the version
    was promoted, 0.0 if a rollback put it back or none is before it. alerted: when people were last alerted
    of this cause; alerts: how often, since it began. ks: KS distance of the features furthest from training,
    in the last check only.
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
    alerts: int = 0
    ks: dict[str, float] = field(default_factory=dict)

    @property
    def finding(self) -> tuple[str | float, ...]:
        """What was found, of which release, and what it led to: the same in a row is one entry."""
        return self.version, self.released, self.drift, self.performance, self.service, self.cause, self.did


@dataclass(frozen=True)
class Action:
    """do: nothing, alert, retrain, roll back or held back. alert: whether people are alerted now.

    replay: roll back only if the version before scores better on the rows of the same window; else retrain.
    """

    do: str = NOTHING
    cause: str = ""
    why: str = ""
    alert: bool = False
    replay: bool = False


def decide(
    checks: Sequence[Check], policy: Policy, now: float, before_was_better: bool | None = None
) -> Action:
    """Return what to do after the last of the checks, the oldest first. now: seconds since 1970.

    before_was_better: whether the version before scored better, once an action with `replay` was followed.
    """
    action = _first_rule(checks, policy, now)
    if action.replay and before_was_better is not None:
        action = replace(action, do=ROLL_BACK if before_was_better else RETRAIN, replay=False)
    if action.do == NOTHING:
        return _end(checks, action, policy, now)
    if window := window_of(policy.maintenance, now):
        return replace(action, do=HELD_BACK, why=f"{action.do}, but for maintenance ({window}): {action.why}")
    before = _same(checks[:-1], checks[-1].version, action)
    if before is None or not before.alerts:
        return replace(action, alert=True)
    hours = min(policy.repeat_hours * 2 ** min(before.alerts - 1, 9), max(policy.repeat_hours, LONGEST_HOURS))
    return replace(action, alert=now - before.alerted >= hours * 3600)


def _same(checks: Sequence[Check], version: str, action: Action) -> Check | None:
    """Return the last check of a version with the same cause and action, unless the cause has ended since.

    Another action is alerted however soon it comes after an alert of the same cause.
    """
    key = version, action.cause, action.do
    same = (c for c in reversed(since_end(checks)) if (c.version, c.cause, c.did) == key)
    return next(same, None)


def since_end(checks: Sequence[Check]) -> list[Check]:
    """Return the checks after the last one by which a cause had ended."""
    return list(takewhile(lambda check: check.cause != ENDED, reversed(checks)))[::-1]


def _end(checks: Sequence[Check], nothing: Action, policy: Policy, now: float) -> Action:
    """Return an alert that what people were alerted of has ended, once it was not found for long enough.

    Prometheus says itself when errors or latency are worse, so their end is not looked for.
    """
    last, found = checks[-1], since_end(checks)
    open_ones = [
        check for check in found if check.alerts and check.cause in ("drift", "broken data", "performance")
    ]
    if last.drift != "no drift" or not open_ones or window_of(policy.maintenance, now):
        return nothing
    begun = open_ones[-1]
    fine = takewhile(
        lambda check: check.did == NOTHING and check.drift != "insufficient data", reversed(found)
    )
    known = begun.cause != "performance" or last.performance == "same"
    if sum(check.times for check in fine) < policy.drifts_in_a_row or not known:
        return nothing
    return Action(NOTHING, ENDED, f"{begun.cause} of {begun.version}: {last.why}", alert=True)


def _first_rule(checks: Sequence[Check], policy: Policy, now: float) -> Action:
    last = checks[-1]
    after_release = last.released > 0 and now - last.released <= policy.release_hours * 3600
    if last.service == "worse":
        return Action(ROLL_BACK if after_release else ALERT, "service", last.why)
    if last.drift == "broken data":
        return Action(ALERT, "broken data", last.why)
    if last.performance == "worse":
        return Action(ROLL_BACK if after_release else RETRAIN, "performance", last.why)
    if last.drift == "drift":
        back = policy.rollback_on_drift and last.released > 0 and persistent(checks, policy)
        return Action(ROLL_BACK if back else RETRAIN, "drift", last.why, replay=back)
    return Action(why=last.why)


def persistent(checks: Sequence[Check], policy: Policy) -> bool:
    """Return whether drift was found often enough in a row, in enough checks of this version."""
    ours = [check for check in checks if check.version == checks[-1].version]
    # "insufficient data" neither adds to the row nor ends it.
    known = [check for check in reversed(ours) if check.drift not in ("", "insufficient data")]
    row = sum(check.times for check in takewhile(lambda check: check.drift == "drift", known))
    return row >= policy.drifts_in_a_row and sum(check.times for check in ours) >= policy.least_checks


def add(checks: Sequence[Check], found: Check, action: Action) -> list[Check]:
    """Return the checks with one more, and what was decided: it joins the last one if both are alike."""
    before = _same(checks, found.version, action)
    alerted = found.at if action.alert else before.alerted if before else 0.0
    alerts = (before.alerts if before else 0) + action.alert
    new = replace(found, cause=action.cause, did=action.do, alerted=alerted, alerts=alerts)
    if checks and (last := checks[-1]).finding == new.finding:
        return [*checks[:-1], replace(new, since=last.since, times=last.times + 1)]
    older = [replace(check, ks={}) for check in checks] if new.drift else checks
    return [*older, replace(new, since=new.at)][-KEPT:]
