"""What a webhook asks for, and doing it: retraining, a rollback, an alert. AWS's events use the same parser.

Of Alertmanager's alerts the label `action` says what is asked for: "roll back" (errors or latency are worse;
the policy decides), "tell" (an alert, no more), or else retraining. An alert that is sent again acts no more.
"""

import json
import os
import re
import sys
import threading
from collections.abc import Collection
from datetime import datetime
from typing import Any, NamedTuple

from ..alerts import alert
from ..errors import Busy, LifecycleError
from ..project import Project
from ..state.store import State, open_state
from . import triggers
from .policy import ALERT, HELD_BACK, RETRAIN, ROLL_BACK, RULE
from .retraining import cooldown

SHAPES = 'send {"reason": "…"}, or what Alertmanager or S3 sends'
ONE_AT_A_TIME = threading.Lock()
ACTED, MOST_ACTED = "acted", 200  # the note of the alerts that were acted on, and how many it keeps
SECONDS = {"": 1, "s": 1, "m": 60, "h": 3600}


class Asked(NamedTuple):
    """What a payload asks for: an action of the policy, or "" for nothing; and why, on one line.

    began: when the newest of the alerts began (seconds since 1970), 0.0 if none says so. alerts: their ids.
    """

    action: str = ""
    reason: str = ""
    began: float = 0.0
    alerts: tuple[str, ...] = ()


def asked(payload: Any, acted: Collection[str] = ()) -> Asked:
    """Return what a payload asks for, skipping alerts whose ids are in `acted`.

    Raises LifecycleError on a payload of another shape.
    """
    found = Asked()
    try:
        match payload:
            case {"alerts": list(alerts)}:
                firing = [_of_alert(item) for item in alerts if item["status"] == "firing"]
                firing = [each for each in firing if not set(each.alerts) & set(acted)]
                action = next((k for k in (ROLL_BACK, RETRAIN, ALERT) if k in {e.action for e in firing}), "")
                same = [each for each in firing if each.action == action]
                reason = f"alert: {', '.join(sorted({each.reason for each in same}))}"
                began = max((each.began for each in same), default=0.0)
                found = Asked(action, reason, began, tuple(name for each in same for name in each.alerts))
            case {"Records": list(records)}:
                made = [r["s3"]["object"]["key"] for r in records if "ObjectCreated:" in r["eventName"]]
                found = Asked(RETRAIN if made else "", f"new data: {', '.join(made[:3])}")
            case {"reason": str(reason)} if reason.strip():
                found = Asked(RETRAIN, reason)
            case _:
                raise TypeError
    except (KeyError, TypeError, AttributeError, ValueError, OverflowError) as error:
        raise LifecycleError("a payload of another shape", SHAPES) from error
    reason = "".join(c if c.isprintable() else " " for c in found.reason).strip()[:500]
    if found.action and not reason:
        raise LifecycleError("a payload without a reason that can be read", SHAPES)
    return found._replace(reason=reason if found.action else "")


def _of_alert(item: dict[str, Any]) -> Asked:
    """Return what one alert of Alertmanager's asks for; the reason is its name with the summary.

    It began when it started to fire, less the rule's `for`, which the annotation of that name repeats: errors
    of the version before may have begun to count.
    """
    labels, notes, starts = item["labels"], item.get("annotations", {}), item.get("startsAt", "")
    action = {"tell": ALERT, ROLL_BACK: ROLL_BACK}.get(labels.get("action", ""), RETRAIN)
    name = labels["alertname"] + (f" ({summary})" if (summary := notes.get("summary", "")) else "")
    if not starts:
        return Asked(action, name)
    number, unit = re.fullmatch(r"(\d{1,6})([smh]?)", notes.get("for", "0")).groups()  # type: ignore[union-attr]
    began = datetime.fromisoformat(starts).timestamp() - int(number) * SECONDS[unit]
    which = item.get("fingerprint") or json.dumps(labels, sort_keys=True)
    return Asked(action, name, began, (f"{which} {starts}"[:300],))


def answer(project: Project, body: bytes) -> tuple[int, dict[str, str]]:
    """Do what the body of a webhook asks for, if it is time. Returns the HTTP status and the answer."""
    try:
        payload = json.loads(body)
        action, reason, *_ = asked(payload)
    except (ValueError, RecursionError, LifecycleError):
        return 400, {"error": SHAPES}
    if not action:
        return 200, {"ignored": "nothing fires, nothing was created"}
    try:
        with ONE_AT_A_TIME:
            state = open_state(project)
            action, reason, began, alerts = asked(payload, acted(state))
            if not action:
                return 200, {"ignored": "it was acted on already"}
            status, done = _act(project, action, reason, began)
            if done != HELD_BACK and action != ALERT:
                remember(state, alerts)
        print(f"✓ {done}: {reason}", flush=True)
        return status, {done: reason} if done == "started" else {"done": done}
    except Busy as error:
        print(f"error: {error}", file=sys.stderr, flush=True)
        return 200, {"dropped": str(error)}
    except (LifecycleError, OSError) as error:
        alert(project, f"{action} ({reason}) could not be done: {error}", severity="error")
        return 503, {"error": "it could not be done: see the log of lifecycle listen"}


def acted(state: State) -> list[str]:
    """Return the ids of the alerts that were acted on, the newest last."""
    return state.load(ACTED, list, [])[0]


def remember(state: State, alerts: Collection[str]) -> None:
    """Note that alerts were acted on."""
    before, tag = state.load(ACTED, list, [])
    if alerts and not state.swap(ACTED, json.dumps([*before, *alerts][-MOST_ACTED:]), tag):
        remember(state, alerts)  # another host did at the same moment


def _act(project: Project, action: str, reason: str, began: float) -> tuple[int, str]:
    """Return the HTTP status, and what was done."""
    if action == RETRAIN:
        with cooldown(project, reason):
            triggers.start(project, reason, lambda: os.environ.get("TRIGGER_TOKEN", ""))
        return 202, "started"
    if action == ROLL_BACK:
        from .checks import service_worse  # here: it needs pandas, which AWS's events do without

        done = service_worse(project, reason, began).do
        return 200 if done == HELD_BACK else 202, done
    # The key has no summary, because Alertmanager repeats itself with other numbers.
    alert(project, reason.removeprefix("alert: "), sure=RULE, severity="error", key=reason.partition(" (")[0])
    return 202, ALERT
