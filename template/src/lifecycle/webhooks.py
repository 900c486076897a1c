"""What a webhook asks for, and doing it: retraining, a rollback, an alert.

Of Alertmanager's alerts the label `action` says what is wanted: "roll back" (errors or latency are worse:
done only not long after a release, see monitoring/policy.py), "tell" (an alert, no more), or else retraining.
"""

import json
import os
import subprocess
import threading
from importlib import import_module
from pathlib import Path
from typing import Any

from . import errors
from .errors import Busy, LifecycleError
from .monitoring.alerts import alert
from .monitoring.policy import ALERT, HELD_BACK, RETRAIN, ROLL_BACK
from .react import service_worse
from .retraining import cooldown

CRON = Path("orchestration/cron.sh")
SHAPES = 'send {"reason": "…"}, or what Alertmanager or S3 sends'
RULE = "by the rule of that name in observability/rules.yml"
ONE_AT_A_TIME = threading.Lock()


def start(reason: str) -> None:
    """Start retraining where this project does: by cron's script, or where TRIGGER says (triggers.py)."""
    if CRON.is_file():
        quiet = {"stdout": subprocess.DEVNULL, "start_new_session": True}
        subprocess.Popen([CRON.absolute(), "retrain", reason], **quiet)
    else:
        triggers = import_module(".triggers", __package__)
        triggers.start(reason, lambda: os.environ.get("TRIGGER_TOKEN", ""))


def asked(payload: Any) -> tuple[str, str]:
    """Return what is asked for (an action of the policy, or "") and why; LifecycleError on other shapes."""
    match payload:
        case {"alerts": list(alerts)}:
            firing = [item for item in alerts if item["status"] == "firing"]
            for kind in (ROLL_BACK, RETRAIN, ALERT):
                if ours := [item for item in firing if _action(item["labels"]) == kind]:
                    return kind, f"alert: {', '.join(sorted({_said(item) for item in ours}))}"[:500]
            return "", ""
        case {"Records": list(records)}:
            made = [item["s3"]["object"]["key"] for item in records if "ObjectCreated:" in item["eventName"]]
            return (RETRAIN, f"new data: {', '.join(made[:3])}") if made else ("", "")
        case {"reason": str(reason)} if reason.strip():
            return RETRAIN, reason.strip()[:500]
    raise LifecycleError("a payload of another shape", SHAPES)


def _action(labels: dict[str, str]) -> str:
    action = labels.get("action", RETRAIN)
    return ALERT if action == "tell" else action


def _said(item: dict[str, Any]) -> str:
    summary = item.get("annotations", {}).get("summary", "")
    return item["labels"]["alertname"] + (f" ({summary})" if summary else "")


def answer(body: bytes) -> tuple[int, dict[str, str]]:
    """Return the status and the answer; what was asked for was done if it was time."""
    try:
        what, reason = asked(json.loads(body))
    except (ValueError, KeyError, TypeError, LifecycleError):
        return 400, {"error": SHAPES}
    if not what:
        return 200, {"ignored": "nothing fires, nothing was created"}
    try:
        with ONE_AT_A_TIME:
            return {ROLL_BACK: roll_back, RETRAIN: retrain, ALERT: tell}[what](reason)
    except Busy as error:
        errors.failed(str(error))
        return 200, {"dropped": str(error)}
    except (LifecycleError, OSError) as error:
        alert(f"{what} ({reason}) could not be done: {error}", severity="error")
        return 503, {"error": "it could not be done: see the log of lifecycle listen"}


def retrain(reason: str) -> tuple[int, dict[str, str]]:
    with cooldown(reason):
        start(reason)
    errors.done(f"started: {reason}")
    return 202, {"started": reason}


def roll_back(reason: str) -> tuple[int, dict[str, str]]:
    """Let the policy decide: it rolls back only not long after a release, and never in maintenance."""
    action = service_worse(reason)
    errors.done(f"{action.do}: {action.why}")
    return 200 if action.do == HELD_BACK else 202, {"done": action.do}


def tell(reason: str) -> tuple[int, dict[str, str]]:
    """Tell people, once: Alertmanager repeats itself."""
    alert(reason.removeprefix("alert: "), sure=RULE, severity="error", key=reason.partition(" (")[0])
    return 202, {"done": ALERT}
