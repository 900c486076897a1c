"""The decision table of automation/policy.py, row by row, and what holds on every path."""

import random
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import pytest
from lifecycle.automation import policy
from lifecycle.automation.policy import ALERT, HELD_BACK, NOTHING, RETRAIN, ROLL_BACK, Action, Check
from lifecycle.errors import SettingsError
from lifecycle.maintenance import covers
from lifecycle.project import Project
from lifecycle.settings import Policy, load

HOUR = 3600.0
NOW = datetime(2026, 3, 4, 12, tzinfo=UTC).timestamp()  # a Wednesday
ASKED = Policy(rollback_on_drift=True)
FRESH, OLD, BACK = NOW - HOUR, NOW - 100 * HOUR, 0.0  # promoted an hour ago, long ago; put back by a rollback
WORDS = ("no drift", "drift", "insufficient data", "broken data")


def checks(*words: str, **more: Any) -> list[Check]:
    """Checks of one version, a quarter of an hour apart, the last one now; more is the last one's."""
    seen: list[Check] = []
    for back, word in reversed(list(enumerate(reversed(words)))):
        own = more if not back else {}
        released = more.get("released", OLD)
        found = Check("v2", NOW - back * HOUR / 4, drift=word, **{"released": released} | own)
        seen = policy.add(seen, found, Action())
    return seen


@pytest.mark.parametrize(
    ("seen", "thresholds", "done", "cause"),
    [
        (checks("no drift"), Policy(), NOTHING, ""),
        (checks("insufficient data"), Policy(), NOTHING, ""),
        (checks("drift"), Policy(), RETRAIN, "drift"),
        (checks("broken data"), Policy(), ALERT, "broken data"),
        (checks("broken data", performance="worse", released=FRESH), Policy(), ALERT, "broken data"),
        (checks("no drift", performance="same"), Policy(), NOTHING, ""),
        (checks("no drift", performance="insufficient data", released=FRESH), Policy(), NOTHING, ""),
        (checks("no drift", performance="worse", released=FRESH), Policy(), ROLL_BACK, "performance"),
        (checks("no drift", performance="worse", released=OLD), Policy(), RETRAIN, "performance"),
        (checks("no drift", performance="worse", released=BACK), Policy(), RETRAIN, "performance"),
        (checks("drift", performance="worse", released=FRESH), Policy(), ROLL_BACK, "performance"),
        (checks("", service="worse", released=FRESH), Policy(), ROLL_BACK, "service"),
        (checks("", service="worse", released=OLD), Policy(), ALERT, "service"),
        (checks("", service="worse", released=BACK), Policy(), ALERT, "service"),
        (checks("broken data", service="worse", released=FRESH), Policy(), ROLL_BACK, "service"),
        (checks(*["drift"] * 50), Policy(), RETRAIN, "drift"),
        (checks(*["drift"] * 12), ASKED, ROLL_BACK, "drift"),
        (checks(*["drift"] * 11), ASKED, RETRAIN, "drift"),
        (checks(*["no drift"] * 10, *["drift"] * 2), ASKED, RETRAIN, "drift"),
        (checks(*["no drift"] * 10, *["drift"] * 3), ASKED, ROLL_BACK, "drift"),
        (checks(*["drift"] * 10, "no drift", *["drift"] * 2), ASKED, RETRAIN, "drift"),
        (checks(*["drift"] * 10, "broken data", *["drift"] * 2), ASKED, RETRAIN, "drift"),
        (checks(*["drift"] * 10, "insufficient data", "drift"), ASKED, ROLL_BACK, "drift"),
        (checks(*["drift"] * 50, released=BACK), ASKED, RETRAIN, "drift"),
    ],
)
def test_what_is_done(seen: list[Check], thresholds: Policy, done: str, cause: str) -> None:
    action = policy.decide(seen, thresholds, NOW)
    assert (action.do, action.cause) == (done, cause)
    assert action.alert == (done != NOTHING)
    assert action.replay == (done == ROLL_BACK and cause == "drift")


def test_drift_rolls_back_only_if_the_version_before_scores_better() -> None:
    seen = checks(*["drift"] * 12)
    assert policy.decide(seen, ASKED, NOW, before_was_better=True).do == ROLL_BACK
    assert policy.decide(seen, ASKED, NOW, before_was_better=False).do == RETRAIN
    assert policy.decide(seen, Policy(), NOW, before_was_better=True).do == RETRAIN, "nobody asked for it"


def test_another_versions_checks_do_not_count() -> None:
    older = [Check("v1", NOW - HOUR, drift="drift", times=100)]
    assert policy.decide([*older, checks("drift")[0]], ASKED, NOW).do == RETRAIN


@pytest.mark.parametrize(
    ("window", "open_now"),
    [
        ("Wed 11:30-12:30", True),
        ("Wed 12:00-12:00", False),
        ("Thu 11:30-12:30", False),
        ("11:00-13:00", True),
        ("22:00-12:01", True),
        ("Tue 22:00-12:01", True),
        ("Wed 22:00-12:01", False),
        ("2026-03-04/2026-03-05", True),
        ("2026-03-04T12:00/2026-03-04T12:01", True),
        ("2026-03-03/2026-03-04T12:00", False),
    ],
)
def test_in_a_maintenance_window_nothing_is_done_and_nobody_alerted(window: str, open_now: bool) -> None:
    assert covers(window, NOW) == open_now
    action = policy.decide(checks("drift"), Policy(maintenance=["Mon 01:00-02:00", window]), NOW)
    assert action.do == (HELD_BACK if open_now else RETRAIN)
    assert action.alert == (not open_now)
    if open_now:
        assert window in action.why and "retrain" in action.why


@pytest.mark.parametrize("window", ["Someday 01:00-02:00", "25:00-26:00", "02:00", "2026-13-01/2026-13-02"])
def test_a_window_that_is_none_is_refused(
    window: str, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LIFECYCLE_POLICY__MAINTENANCE", f'["{window}"]')
    with pytest.raises(SettingsError, match=r"policy\.maintenance"):
        load(project)


def walk(seed: int) -> tuple[list[Check], Policy, list[tuple[Check, Action, list[Check]]]]:
    """Check at random for a while, as the loop does: after a rollback `released` is 0."""
    chance = random.Random(seed)
    thresholds = Policy(
        rollback_on_drift=chance.random() < 0.5,
        drifts_in_a_row=chance.randint(1, 5),
        least_checks=chance.randint(1, 15),
        release_hours=chance.choice([0, 1, 72]),
        repeat_hours=chance.choice([0, 1, 24]),
        maintenance=chance.choice([[], ["13:00-14:00"], ["Wed 00:00-23:00"]]),
    )
    weights = [chance.random() for _ in WORDS]
    seen: list[Check] = []
    steps, version, released, now = [], 1, 0.0, NOW
    for _ in range(chance.randint(1, 120)):
        now += chance.choice([60, HOUR / 4, HOUR])
        if chance.random() < 0.02:
            version, released = version + 1, now
        found = Check(
            f"v{version}",
            now,
            drift=chance.choices(WORDS, weights)[0],
            performance=chance.choice(["", "same", "same", "worse", "insufficient data"]),
            service=chance.choice(["", "", "", "", "worse"]),
            why="x",
            released=released,
        )
        before_was_better = chance.random() < 0.5
        action = policy.decide([*seen, found], thresholds, now)
        if action.replay:
            action = policy.decide([*seen, found], thresholds, now, before_was_better)
        before = seen
        seen = policy.add(seen, found, action)
        steps.append((found, action, before))
        if action.do == ROLL_BACK:
            version, released = version + 1, 0.0
    return seen, thresholds, steps


@pytest.mark.parametrize("seed", range(150))
def test_what_holds_on_every_path(seed: int) -> None:
    seen, thresholds, steps = walk(seed)
    assert len(seen) <= policy.KEPT and sum(check.times for check in seen) <= len(steps)
    assert [check.at for check in seen] == sorted(check.at for check in seen)
    for found, action, before in steps:
        if found.drift == "broken data":
            assert action.do != RETRAIN, "broken data never retrains"
        if action.do == ROLL_BACK:
            assert found.released, "what a rollback put back is not rolled back"
            fresh = found.at - found.released <= thresholds.release_hours * HOUR
            assert fresh or (thresholds.rollback_on_drift and found.drift == "drift")
        if any(covers(window, found.at) for window in thresholds.maintenance):
            assert action.do in (NOTHING, HELD_BACK) and not action.alert
        if action.cause == policy.ENDED:
            assert action.alert and found.drift == "no drift" and any(check.alerts for check in before)
            continue
        if action.alert:
            assert action.do not in (NOTHING, HELD_BACK)
            assert not alerted_lately(found, action, policy.since_end(before), thresholds)
        if found.drift in ("no drift", "insufficient data") and "worse" not in (
            found.performance,
            found.service,
        ):
            assert action == Action(why="x"), "nothing found, nothing done"


def alerted_lately(found: Check, action: Action, before: Sequence[Check], thresholds: Policy) -> bool:
    return any(
        (check.version, check.cause, check.did) == (found.version, action.cause, action.do)
        and check.alerted > found.at - thresholds.repeat_hours * HOUR
        for check in before
    )


def test_a_quiet_week_is_one_entry() -> None:
    seen: list[Check] = []
    for quarter in range(7 * 96):
        seen = policy.add(
            seen, Check("v2", NOW + quarter * HOUR / 4, drift="no drift", released=OLD), Action()
        )
    assert [(check.times, check.since) for check in seen] == [(7 * 96, NOW)]


def quarters(*words: str, each: int = 1) -> list[tuple[float, Action]]:
    """Check every quarter of an hour, `each` times with a word; return (hours, alert) of each alert."""
    seen, alerts = list[Check](), []
    for quarter, word in enumerate(word for word in words for _ in range(each)):
        found = Check("v2", NOW + quarter * HOUR / 4, drift=word, released=OLD)
        action = policy.decide([*seen, found], Policy(), found.at)
        seen = policy.add(seen, found, action)
        if action.alert:
            alerts.append((quarter / 4, action))
    return alerts


def test_one_cause_is_alerted_at_growing_intervals() -> None:
    """Under five a week, of any that goes on."""
    alerts = quarters("drift", each=20 * 96)
    assert [hours for hours, _ in alerts] == [0, 24, 72, 168, 336]


def test_the_end_is_told_once_it_lasts() -> None:
    alerts = quarters(*["drift"] * 8, *["no drift"] * 2, "drift", *["insufficient data"], *["no drift"] * 20)
    assert [(hours, action.do, action.cause) for hours, action in alerts] == [
        (0, RETRAIN, "drift"),
        (3.5, NOTHING, policy.ENDED),
    ]
    assert alerts[-1][1].why.startswith("drift of v2")
    again = quarters(*["drift"] * 4, *["no drift"] * 4, *["drift"] * 4)
    assert [action.cause for _, action in again] == ["drift", policy.ENDED, "drift"], "another one begins"


def test_the_next_version_ends_the_drift_of_the_one_before() -> None:
    seen = policy.add([], Check("v1", NOW - HOUR, drift="drift"), Action(RETRAIN, "drift", alert=True))
    for quarter in range(3):
        found = Check("v2", NOW + quarter * HOUR / 4, drift="no drift")
        action = policy.decide([*seen, found], Policy(), found.at)
        seen = policy.add(seen, found, action)
    assert (action.cause, action.why) == (policy.ENDED, "drift of v1: ")


def test_worse_performance_ends_when_it_was_measured_again() -> None:
    begun = Check("v1", NOW - HOUR, performance="worse")
    seen = policy.add([], begun, Action(RETRAIN, "performance", alert=True))
    for performance in ("", "insufficient data", "same"):
        for quarter in range(4):
            found = Check("v1", NOW + quarter, drift="no drift", performance=performance)
            action = policy.decide([*seen, found], Policy(), found.at)
            seen = policy.add(seen, found, action)
            assert action.cause == (policy.ENDED if performance == "same" and not quarter else "")


def test_flapping_is_not_an_alert_each_time() -> None:
    week = [word for _ in range(7 * 32) for word in ("no drift", "drift", "drift")]
    assert len(quarters(*week)) <= 4
