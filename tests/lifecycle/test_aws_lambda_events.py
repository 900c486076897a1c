"""The events that start retraining in AWS, and those that do not. The state is a folder here."""

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from lifecycle.deploy.aws_lambda.events import handler
from lifecycle.errors import LifecycleError
from lifecycle.project import Project
from services.recorder import Recorder, recorder

pytestmark = pytest.mark.usefixtures("project")
OVER = {"status": "resolved", "labels": {"alertname": "Errors"}}
FIRES = {"status": "firing", "labels": {"alertname": "Errors"}}
SLOW = {"status": "firing", "labels": {"alertname": "Slow", "action": "roll back"}}


@pytest.fixture
def api(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Recorder]:
    """GitHub's API, and the settings of the function in AWS."""
    with recorder() as api:
        settings = {"TRIGGER": "github", "TRIGGER_TARGET": "me/churn", "TRIGGER_URL": api.url}
        settings |= {
            "TRIGGER_TOKEN": "t0ken",
            "WEBHOOK_TOKEN": "w3b",
            "STATE_URI": (tmp_path / "state").as_uri(),
        }
        for name, text in settings.items():
            monkeypatch.setenv(name, text)
        yield api


def s3(key: str, name: str = "ObjectCreated:Put") -> dict[str, Any]:
    record = {
        "eventSource": "aws:s3",
        "eventName": name,
        "s3": {"bucket": {"name": "b"}, "object": {"key": key}},
    }
    return {"Records": [record]}


def sqs(**verdicts: str) -> dict[str, Any]:
    records = [{"messageId": id, "eventSource": "aws:sqs", "body": body} for id, body in verdicts.items()]
    return {"Records": records}


def post(body: Any, token: str = "w3b") -> tuple[int, Any]:
    said = handler({"requestContext": {}, "headers": {"Authorization": f"Bearer {token}"}, "body": body})
    return said["statusCode"], json.loads(said["body"])


@pytest.mark.parametrize(
    ("event", "reason"),
    [
        (s3("data/new.parquet"), "new data: data/new.parquet"),
        (
            {"source": "aws.s3", "detail": {"object": {"key": "data/new.parquet"}}},
            "new data: data/new.parquet",
        ),
        ({"task": "retrain"}, "schedule"),
        (
            sqs(a=json.dumps({"verdict": "drift", "why": "moved: distance_km"})),
            "drift: moved: distance_km",
        ),
    ],
    ids=["S3 notification", "Object Created", "schedule", "drift"],
)
def test_each_event_starts_retraining_once_in_a_cooldown(
    event: dict[str, Any], reason: str, api: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(2):
        handler(event)
    assert [json.loads(asked.body)["client_payload"]["reason"] for asked in api.asked] == [reason]
    said = handler({"task": "retrain"})
    assert said["started"] == 0 and "the last start was 0 min ago" in said["why"]
    monkeypatch.setenv("LIFECYCLE_RETRAIN__COOLDOWN_HOURS", "0")
    assert handler({"task": "retrain"})["started"] == 1


def test_what_starts_nothing(api: Recorder) -> None:
    broken = json.dumps({"verdict": "broken data", "why": "half the rows"})
    failed = handler(sqs(good=broken, bad="{", odd="[]"))
    assert [item["itemIdentifier"] for item in failed["batchItemFailures"]] == ["bad", "odd"]
    assert handler(s3("data/old.parquet", "ObjectRemoved:Delete"))["started"] == 0
    with pytest.raises(LifecycleError, match=r"an unknown event: \['surprise'\]"):
        handler({"surprise": 1})
    assert not api.asked


def test_a_start_that_fails_gives_the_cooldown_back(api: Recorder) -> None:
    api.status = 500
    with pytest.raises(LifecycleError, match="dispatches answers 500") as error:
        handler({"task": "retrain"})
    assert "t0ken" not in str(error.value)
    api.status = 204
    assert handler({"task": "retrain"})["started"] == 1


def test_of_many_events_at_once_one_starts_retraining(api: Recorder) -> None:
    with ThreadPoolExecutor(6) as pool:
        done = list(pool.map(lambda _: handler({"task": "retrain"}), range(6)))
    assert sum(item["started"] for item in done) == len(api.asked) == 1


def test_the_webhook_needs_its_token(api: Recorder) -> None:
    fires = json.dumps({"alerts": [FIRES]})
    assert post(fires, "wrong")[0] == post(fires, "")[0] == 401
    assert handler({"requestContext": {}, "body": fires})["statusCode"] == 401
    assert not api.asked


def test_the_webhook_starts_what_fires(api: Recorder) -> None:
    assert post("{")[0] == post(json.dumps({"alerts": [1]}))[0] == post("[]")[0] == post("")[0] == 422
    assert post(json.dumps({"alerts": [OVER]})) == (202, {"why": "nothing fires", "started": 0})
    status, said = post(json.dumps({"alerts": [SLOW]}))
    assert status == 202 and said["started"] == 0 and "roll back" in said["why"]
    assert not api.asked
    assert post(json.dumps({"alerts": [OVER, FIRES]})) == (202, {"why": "alert: Errors", "started": 1})
    assert len(api.asked) == 1
    assert post(json.dumps({"reason": "by hand"}))[1]["started"] == 0


def test_starts_are_metrics_in_the_log(
    api: Recorder, project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    handler({"task": "retrain"})
    logged = json.loads(capsys.readouterr().out.splitlines()[-1])
    (about,) = logged["_aws"]["CloudWatchMetrics"]
    assert (logged["started"], about["Namespace"]) == (1, project.name)
    assert about["Metrics"] == [{"Name": "started", "Unit": "Count"}] and api.asked
