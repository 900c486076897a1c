"""Starting a retraining at GitHub, GitLab, Prefect, Airflow and in AWS, by what their APIs document."""

import base64
import json
import sys
import urllib.parse
from collections.abc import Iterator

import pytest
from lifecycle.automation import triggers
from lifecycle.errors import LifecycleError, SettingsError
from lifecycle.project import Project
from services.recorder import Recorder, recorder


@pytest.fixture
def api() -> Iterator[Recorder]:
    with recorder() as api:
        yield api


def start(project: Project, monkeypatch: pytest.MonkeyPatch, token: str = "t0ken", **env: str) -> None:
    for name, value in env.items():
        monkeypatch.setenv(name, value)
    triggers.start(project, "drift: it moved", lambda: token)


def test_github_gets_a_repository_dispatch(
    project: Project, api: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    start(project, monkeypatch, TRIGGER="github", TRIGGER_TARGET="me/churn", TRIGGER_URL=f"{api.url}/")
    (asked,) = api.asked
    assert asked.path == "/repos/me/churn/dispatches"
    assert asked.headers["authorization"] == "Bearer t0ken"
    assert asked.headers["accept"] == "application/vnd.github+json" and asked.headers["user-agent"]
    assert json.loads(asked.body) == {
        "event_type": "retrain",
        "client_payload": {"reason": "drift: it moved"},
    }


def test_gitlab_gets_a_pipeline_with_the_reason(
    project: Project, api: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    start(project, monkeypatch, TRIGGER="gitlab", TRIGGER_TARGET="group/churn", TRIGGER_URL=api.url)
    (asked,) = api.asked
    assert asked.path == "/api/v4/projects/group%2Fchurn/trigger/pipeline"
    sent = dict(urllib.parse.parse_qsl(asked.body))
    assert sent == {"token": "t0ken", "ref": "main", "variables[REASON]": "drift: it moved"}


@pytest.mark.parametrize(
    ("token", "header"),
    [
        ("", None),
        ("pnu_key", "Bearer pnu_key"),
        ("ada:pw", f"Basic {base64.b64encode(b'ada:pw').decode()}"),
    ],
)
def test_prefect_gets_a_flow_run(
    project: Project, api: Recorder, monkeypatch: pytest.MonkeyPatch, token: str, header: str | None
) -> None:
    start(project, monkeypatch, token, TRIGGER="prefect", TRIGGER_TARGET="an-id", TRIGGER_URL=api.url)
    (asked,) = api.asked
    assert asked.path == "/deployments/an-id/create_flow_run"
    assert asked.headers.get("authorization") == header
    assert json.loads(asked.body)["parameters"] == {"reason": "drift: it moved"}


def test_an_error_says_what_was_answered_and_never_the_token(
    project: Project, api: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    api.status = 404
    with pytest.raises(LifecycleError, match="answers 404") as error:
        start(project, monkeypatch, TRIGGER="gitlab", TRIGGER_TARGET="p", TRIGGER_URL=api.url)
    assert "t0ken" not in str(error.value)


@pytest.mark.parametrize(
    ("kind", "target", "says"),
    [
        ("", "me/churn", "TRIGGER is not set"),
        ("github", "", "TRIGGER_TARGET is not set"),
        ("jenkins", "job", "TRIGGER is 'jenkins'"),
        ("prefect", "an-id", "TRIGGER_URL is not set"),
        ("airflow", "churn-retrain", "TRIGGER_URL is not set"),
    ],
)
def test_what_is_not_set_is_named(
    project: Project, monkeypatch: pytest.MonkeyPatch, kind: str, target: str, says: str
) -> None:
    with pytest.raises(SettingsError, match=says):
        start(project, monkeypatch, "", TRIGGER=kind, TRIGGER_TARGET=target, TRIGGER_URL="")


@pytest.mark.parametrize("kind", ["stepfunctions", "sagemaker"])
def test_aws_needs_its_client(project: Project, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    monkeypatch.setitem(sys.modules, "boto3", None)
    with pytest.raises(SettingsError, match="boto3 is not installed"):
        start(project, monkeypatch, TRIGGER=kind, TRIGGER_TARGET="x")
