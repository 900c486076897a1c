"""What starts retraining in AWS: new data, drift, a schedule, an alert. The function that takes these events.

| event                                  | what it does                                                   |
| S3 notification, or "Object Created"   | new data: retrain                                              |
| {"task": "drift"}, on a schedule       | sum the counts of the live version; drift goes to ALERT_QUEUE  |
| SQS message {"verdict", "why"}         | "drift": retrain; any other verdict starts nothing             |
| {"task": "retrain"}, on a schedule     | retrain                                                        |
| webhook, see automation/webhooks.py    | retrain, when it asks for that and brings the token            |

One retraining starts per cooldown (retrain.cooldown_hours), whatever asks for it.
"""

import json
import os
import secrets
from pathlib import Path
from typing import Any

import boto3

from ... import settings
from ...automation import triggers
from ...automation.policy import RETRAIN
from ...automation.retraining import cooldown
from ...automation.webhooks import Asked, acted, asked, remember
from ...errors import Busy, LifecycleError
from ...monitoring import drift, serving_stats
from ...monitoring.profile import Profile
from ...project import Project
from ...registry.objects import open_store
from ...state.store import open_state
from .recorder import PROFILE, log_metrics, parameter, place
from .windows import pull

WINDOWS = Path("/tmp/windows")  # the one place that a function may write to


def handler(event: dict[str, Any], _context: Any = None) -> dict[str, Any]:
    """Take one event; an error makes AWS try again, and then puts the event into the dead-letter queue."""
    project = Project.find()
    match event:
        case {"requestContext": _}:
            return webhook(project, event)
        case {"Records": [{"eventSource": "aws:sqs"}, *_] as records}:
            failed = [item["messageId"] for item in records if not _alert(project, item)]
            return {"batchItemFailures": [{"itemIdentifier": name} for name in failed]}
        case {"Records": _}:
            return _react(project, asked(event))
        case {"source": "aws.s3", "detail": {"object": {"key": key}}}:
            return retrain(project, f"new data: {key}")
        case {"task": "drift"}:
            return check(project)
        case {"task": "retrain"}:
            return retrain(project, "schedule")
    raise LifecycleError(f"an unknown event: {sorted(event)}", "see the table in deploy/aws_lambda/events.py")


def webhook(project: Project, event: dict[str, Any]) -> dict[str, Any]:
    """Answer a webhook: 401 without the token, 422 to what asks for nothing known, 202 when it was heard."""
    given = {name.lower(): value for name, value in (event.get("headers") or {}).items()}
    expected = f"Bearer {secret('WEBHOOK_TOKEN')}"
    if not secrets.compare_digest(given.get("authorization", "").encode(), expected.encode()):
        return {"statusCode": 401, "body": json.dumps({"detail": "the bearer token is missing or wrong"})}
    try:
        payload = json.loads(event.get("body") or "")
        asked(payload)
    except (ValueError, RecursionError, LifecycleError):
        return {"statusCode": 422, "body": json.dumps({"detail": "neither Alertmanager's JSON nor a reason"})}
    state = open_state(project)
    found = asked(payload, acted(state))
    done = _react(project, found)
    if done["started"]:
        remember(state, found.alerts)
    return {"statusCode": 202, "body": json.dumps(done)}


def _react(project: Project, found: Asked) -> dict[str, Any]:
    if found.action == RETRAIN:
        return retrain(project, found.reason)
    why = f"{found.reason}: nothing here can {found.action}" if found.action else "nothing fires"
    return _log(project, why, started=0)


def _alert(project: Project, record: dict[str, Any]) -> bool:
    """Take a drift alert; False lets SQS bring it again, and put it aside after the third time."""
    try:
        alert = json.loads(record["body"])
        why = f"{alert['verdict']}: {alert['why']}"[:500]
        if alert["verdict"] == "drift":
            retrain(project, why)
        else:
            _log(project, f"{why}: nothing to learn from that", started=0)
        return True
    except Exception as error:  # one bad message must not bring the others again
        print(f"{record['messageId']}: {type(error).__name__}: {error}", flush=True)
        return False


def check(project: Project) -> dict[str, Any]:
    """Compare what the live version was asked of late with what it was trained on."""
    thresholds = settings.load(project).drift
    where = {"FunctionName": os.environ["LIVE_FUNCTION"], "Qualifier": "live"}
    live = boto3.client("lambda").get_function_configuration(**where)
    version, (bucket, prefix) = live["Description"], place(project)
    store = open_store(f"s3://{bucket}/{prefix}")
    if not (profile := store.read(PROFILE.format(version))):
        raise LifecycleError(f"{store.place} has no profile of {version}", f"make deploy VERSION={version}")
    reference = Profile.from_dict(json.loads(profile[0]))
    pull(store, version, WINDOWS, thresholds.window_hours)
    current, rejected = serving_stats.collect(reference, WINDOWS, version, thresholds.window_hours)
    verdict = drift.judge(reference, current, rejected, thresholds)
    found = {"verdict": verdict.verdict, "why": verdict.why, "version": version, "rows": verdict.rows}
    if verdict.verdict in ("drift", "broken data"):
        text = json.dumps(found)
        boto3.client("sqs").send_message(QueueUrl=os.environ["ALERT_QUEUE"], MessageBody=text)
    drifted = sum(feature.drifted for feature in verdict.features)
    _log(project, verdict.why, drifted_features=drifted, broken_data=int(verdict.verdict == "broken data"))
    return found


def retrain(project: Project, reason: str) -> dict[str, Any]:
    """Start retraining, unless it was started within the cooldown."""
    try:
        with cooldown(project, reason):
            triggers.start(project, reason, lambda: secret("TRIGGER_TOKEN"))
    except Busy as error:
        return _log(project, str(error), started=0)
    return _log(project, reason, started=1)


def secret(name: str) -> str:
    """Return an environment variable, or the secret /<STACK>/<name> in SSM."""
    if name in os.environ:
        return os.environ[name]
    return parameter(f"/{os.environ['STACK']}/{name}")


def _log(project: Project, why: str, **counts: int) -> dict[str, Any]:
    """Log counts as metrics, and return them as the answer."""
    answer = {"why": why, **counts}
    log_metrics(project, dict.fromkeys(counts, "Count"), answer)
    return answer
