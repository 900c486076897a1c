"""What a webhook asks for, and doing it: retraining, a rollback, an alert. AWS's events use the same parser.

Of Alertmanager's alerts the label `action` says what is asked for: "roll back" (errors or latency are worse;
the policy decides), "tell" (an alert, no more), or else retraining.
"""

import json
import os
import sys
import threading
from typing import Any

from ..alerts import alert
from ..errors import Busy, LifecycleError
from ..project import Project
from . import triggers
from .policy import ALERT, HELD_BACK, RETRAIN, ROLL_BACK, RULE
from .retraining import cooldown

SHAPES = 'send {"reason": "…"}, or what Alertmanager or S3 sends'
ONE_AT_A_TIME = threading.Lock()


def asked(payload: Any) -> tuple[str, str]:
    """Return what a payload asks for (an action of the policy, or "" for nothing), and why, on one line.

    Raises LifecycleError on a payload of another shape.
    """
    action = reason = ""
    try:
        match payload:
            case {"alerts": list(alerts)}:
                firing = [_of_alert(item) for item in alerts if item["status"] == "firing"]
                action = next((kind for kind in (ROLL_BACK, RETRAIN, ALERT) if kind in dict(firing)), "")
                names = sorted({name for kind, name in firing if kind == action})
                reason = f"alert: {', '.join(names)}"
            case {"Records": list(records)}:
                made = [r["s3"]["object"]["key"] for r in records if "ObjectCreated:" in r["eventName"]]
                action, reason = RETRAIN if made else "", f"new data: {', '.join(made[:3])}"
            case {"reason": str(reason)} if reason.strip():
                action = RETRAIN
            case _:
                raise TypeError
    except (KeyError, TypeError, AttributeError) as error:
        raise LifecycleError("a payload of another shape", SHAPES) from error
    reason = "".join(c if c.isprintable() else " " for c in reason).strip()[:500]
    return action, reason if action else ""


def _of_alert(item: dict[str, Any]) -> tuple[str, str]:
    """Return what an alert of Alertmanager's asks for, and its name with the summary."""
    labels, summary = item["labels"], item.get("annotations", {}).get("summary", "")
    action = {"tell": ALERT, ROLL_BACK: ROLL_BACK}.get(labels.get("action", ""), RETRAIN)
    return action, labels["alertname"] + (f" ({summary})" if summary else "")


def answer(project: Project, body: bytes) -> tuple[int, dict[str, str]]:
    """Do what the body of a webhook asks for, if it is time. Returns the HTTP status and the answer."""
    try:
        action, reason = asked(json.loads(body))
    except (ValueError, RecursionError, LifecycleError):
        return 400, {"error": SHAPES}
    if not action:
        return 200, {"ignored": "nothing fires, nothing was created"}
    try:
        with ONE_AT_A_TIME:
            status, done = _act(project, action, reason)
        print(f"✓ {done}: {reason}", flush=True)
        return status, {done: reason} if done == "started" else {"done": done}
    except Busy as error:
        print(f"error: {error}", file=sys.stderr, flush=True)
        return 200, {"dropped": str(error)}
    except (LifecycleError, OSError) as error:
        alert(project, f"{action} ({reason}) could not be done: {error}", severity="error")
        return 503, {"error": "it could not be done: see the log of lifecycle listen"}


def _act(project: Project, action: str, reason: str) -> tuple[int, str]:
    """Return the HTTP status, and what was done."""
    if action == RETRAIN:
        with cooldown(project, reason):
            triggers.start(project, reason, lambda: os.environ.get("TRIGGER_TOKEN", ""))
        return 202, "started"
    if action == ROLL_BACK:
        from .checks import service_worse  # here: it needs pandas, which AWS's events do without

        done = service_worse(project, reason).do
        return 200 if done == HELD_BACK else 202, done
    # The key has no summary, because Alertmanager repeats itself with other numbers.
    alert(project, reason.removeprefix("alert: "), sure=RULE, severity="error", key=reason.partition(" (")[0])
    return 202, ALERT
