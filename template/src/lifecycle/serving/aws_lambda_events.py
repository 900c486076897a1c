"""What starts retraining in AWS: new data, drift, a schedule, an alert. The function that takes these events.

| event                                     | what it does                                                   |
| S3 notification, or "Object Created"      | new data: retrain                                              |
| {"task": "drift"}, on a schedule          | sum the windows of the live version; drift goes to ALERT_QUEUE |
| SQS message {"verdict", "why"}            | "drift": retrain; any other verdict starts nothing             |
| {"task": "retrain"}, on a schedule        | retrain                                                        |
| webhook of Alertmanager, or {"reason"}    | retrain, when it fires and brings the token                    |

One retraining starts per COOLDOWN_HOURS: see aws_lambda_cooldown.py. A check leaves the windows merged.
"""

import json
import os
import secrets
import time
from pathlib import Path
from typing import Any

import boto3

from .. import triggers
from ..errors import LifecycleError
from ..project import NAME
from .aws_lambda_cooldown import TooSoon, cooldown
from .aws_lambda_pull import pull, tidy
from .aws_lambda_windows import place

WINDOWS = Path("/tmp/windows")


def handler(event: dict[str, Any], _context: Any = None) -> dict[str, Any]:
    """Take one event; an error makes AWS try again, and then puts the event into the dead-letter queue."""
    if "requestContext" in event:
        return webhook(event)
    records = event.get("Records", [])
    if records and records[0].get("eventSource") == "aws:sqs":
        failed = [{"itemIdentifier": item["messageId"]} for item in records if not _alert(item)]
        return {"batchItemFailures": failed}
    if records or event.get("source") == "aws.s3":
        objects = [item["s3"]["object"]["key"] for item in records] or [event["detail"]["object"]["key"]]
        return retrain(f"new data: {', '.join(objects)}")
    if event.get("task") == "drift":
        return check()
    if event.get("task") == "retrain":
        return retrain("schedule")
    raise LifecycleError(f"an unknown event: {sorted(event)}", "see the table in aws_lambda_events.py")


def webhook(event: dict[str, Any]) -> dict[str, Any]:
    """Answer Alertmanager's webhook, or {"reason": …}: 401 without the token, 202 when it was heard."""
    given = {name.lower(): value for name, value in (event.get("headers") or {}).items()}
    expected = f"Bearer {secret('WEBHOOK_TOKEN')}"
    if not secrets.compare_digest(given.get("authorization", "").encode(), expected.encode()):
        return {"statusCode": 401, "body": json.dumps({"detail": "the bearer token is missing or wrong"})}
    try:
        said = json.loads(event.get("body") or "")
        firing = {a["labels"]["alertname"] for a in said.get("alerts", ()) if a["status"] == "firing"}
        reason = f"alert: {', '.join(sorted(firing))}" if firing else str(said.get("reason", ""))
    except (ValueError, AttributeError, KeyError, TypeError):
        return {"statusCode": 422, "body": json.dumps({"detail": "neither Alertmanager's JSON nor a reason"})}
    answer = retrain(reason[:500]) if reason else {"started": False, "why": "nothing fires"}
    return {"statusCode": 202, "body": json.dumps(answer)}


def _alert(record: dict[str, Any]) -> bool:
    """Take a drift alert; False lets SQS bring it again, and put it aside after the third time."""
    try:
        alert = json.loads(record["body"])
        if alert["verdict"] == "drift":
            retrain(f"drift: {alert['why']}"[:500])
        else:
            _log(started=0, why=f"{alert['verdict']}: nothing to learn from that")
        return True
    except Exception as error:  # one bad message must not bring the others again
        print(f"{record['messageId']}: {type(error).__name__}: {error}", flush=True)
        return False


def check() -> dict[str, Any]:
    """Compare what the live version was asked of late with what it was trained on."""
    from .. import settings  # SciPy and YAML are for this alone
    from ..monitoring import drift, windows
    from ..monitoring.profile import Profile

    bars = settings.load().drift
    functions: Any = boto3.client("lambda")
    live = functions.get_function_configuration(FunctionName=os.environ["LIVE_FUNCTION"], Qualifier="live")
    version, (bucket, prefix) = live["Description"], place()
    stored: Any = boto3.client("s3")
    profile = stored.get_object(Bucket=bucket, Key=f"{prefix}/profiles/{version}.json")["Body"].read()
    reference = Profile.from_dict(json.loads(profile))
    pull(version, WINDOWS, bars.window_hours)
    current, rejected = windows.collect(reference, WINDOWS, version, bars.window_hours)
    verdict = drift.judge(reference, current, rejected, bars)
    found = {"verdict": verdict.verdict, "why": verdict.why, "version": version, "rows": verdict.rows}
    if verdict.verdict in ("drift", "broken data"):
        queue: Any = boto3.client("sqs")
        queue.send_message(QueueUrl=os.environ["ALERT_QUEUE"], MessageBody=json.dumps(found))
    moved = sum(feature.drifted for feature in verdict.features)
    _log(drifted_features=moved, broken_data=int(verdict.verdict == "broken data"), why=verdict.why)
    tidy(version, WINDOWS)
    return found


def retrain(reason: str) -> dict[str, Any]:
    """Start retraining, unless it was started less than COOLDOWN_HOURS ago."""
    hours = float(os.environ.get("COOLDOWN_HOURS", "24"))
    try:
        with cooldown("retrained", hours, reason):
            triggers.start(reason, lambda: secret("TRIGGER_TOKEN"))
    except TooSoon as error:
        return _log(started=0, why=f"{reason}: {error}")
    return _log(started=1, why=reason)


def secret(name: str) -> str:
    """Return an environment variable, or the secret /<STACK>/<name> in SSM."""
    if name in os.environ:
        return os.environ[name]
    client: Any = boto3.client("ssm")
    found = client.get_parameter(Name=f"/{os.environ['STACK']}/{name}", WithDecryption=True)
    return found["Parameter"]["Value"]


def _log(why: str, **counts: int) -> dict[str, Any]:
    metrics = [{"Name": name, "Unit": "Count"} for name in counts]
    about = {"Namespace": os.environ.get("STACK", NAME), "Dimensions": [[]], "Metrics": metrics}
    meta = {"Timestamp": int(time.time() * 1000), "CloudWatchMetrics": [about]}
    print(json.dumps({"_aws": meta, "why": why, **counts}), flush=True)
    return {"why": why, **counts}
