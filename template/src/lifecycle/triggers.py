"""Where retraining is started, an adapter for each place: TRIGGER names it, TRIGGER_TARGET what runs there.

| TRIGGER       | TRIGGER_TARGET          | TRIGGER_URL (default)    | TRIGGER_TOKEN                     |
| github        | owner/repository        | https://api.github.com   | fine-grained, contents: write     |
| gitlab        | project id or group/name | https://gitlab.com      | pipeline trigger token            |
| prefect       | deployment id           | PREFECT_API_URL of yours | API key, or user:password; or none |
| airflow       | DAG id                  | of your API server       | user:password                     |
| stepfunctions | state machine's ARN     | (AWS)                    | (the function's role)             |
| sagemaker     | pipeline's name         | (AWS)                    | (the function's role)             |

Each is asked once for each event and answers at once; the training itself takes as long as it takes there.
"""

import base64
import json
import os
import urllib.error
import urllib.parse
import urllib.request
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any

from .errors import LifecycleError, SettingsError

TIMEOUT = 10  # seconds


@dataclass(frozen=True)
class Call:
    """An HTTP request: POST with a JSON body, or a form's."""

    url: str
    body: dict[str, Any]
    headers: dict[str, str] = field(default_factory=dict)
    form: bool = False

    def send(self) -> dict[str, Any]:
        """Send it and return the answer; LifecycleError with what was said, but never with the token."""
        kind = "application/x-www-form-urlencoded" if self.form else "application/json"
        data = (urllib.parse.urlencode(self.body) if self.form else json.dumps(self.body)).encode()
        headers = {"Content-Type": kind, "User-Agent": "lifecycle", **self.headers}
        place = urllib.parse.urlsplit(self.url)._replace(query="").geturl()
        try:
            request = urllib.request.Request(self.url, data, headers)
            with urllib.request.urlopen(request, timeout=TIMEOUT) as answer:
                return json.loads(answer.read() or b"{}")
        except urllib.error.HTTPError as error:
            said = error.read(500).decode(errors="replace")
            raise LifecycleError(
                f"{place} answers {error.code}: {said}", "check TRIGGER_TARGET and the token"
            ) from error
        except OSError as error:
            raise LifecycleError(f"{place} cannot be reached: {error}", "check TRIGGER_URL") from error


def github(target: str, url: str, token: str, reason: str) -> Call:
    """Send repository_dispatch: https://docs.github.com/rest/repos/repos#create-a-repository-dispatch-event."""
    headers = {"Authorization": f"Bearer {token}", "Accept": "application/vnd.github+json"}
    headers["X-GitHub-Api-Version"] = "2022-11-28"
    body = {"event_type": "retrain", "client_payload": {"reason": reason}}
    return Call(f"{url or 'https://api.github.com'}/repos/{target}/dispatches", body, headers)


def gitlab(target: str, url: str, token: str, reason: str) -> Call:
    """Start a pipeline: https://docs.gitlab.com/api/pipeline_triggers/#trigger-a-pipeline-with-a-token."""
    project = urllib.parse.quote(target, safe="")
    body = {"token": token, "ref": os.environ.get("TRIGGER_REF", "main"), "variables[REASON]": reason}
    return Call(f"{url or 'https://gitlab.com'}/api/v4/projects/{project}/trigger/pipeline", body, form=True)


def prefect(target: str, url: str, token: str, reason: str) -> Call:
    """Create a flow run: POST /deployments/{id}/create_flow_run of Prefect 3."""
    headers = {"Authorization": _basic(token) if ":" in token else f"Bearer {token}"} if token else {}
    body: dict[str, Any] = {"state": {"type": "SCHEDULED", "message": reason}, "tags": ["retrain"]}
    body["parameters"] = {"reason": reason}
    return Call(f"{_needed(url, 'TRIGGER_URL')}/deployments/{target}/create_flow_run", body, headers)


def airflow(target: str, url: str, token: str, reason: str) -> Call:
    """Trigger a DAG run of Airflow 3, with a token of its own: they expire."""
    user, _, password = token.partition(":")
    url = _needed(url, "TRIGGER_URL")
    session = Call(f"{url}/auth/token", {"username": user, "password": password}).send()
    headers = {"Authorization": f"Bearer {session['access_token']}"}
    body = {"logical_date": None, "conf": {"reason": reason}, "note": reason[:1000]}
    return Call(f"{url}/api/v2/dags/{urllib.parse.quote(target, safe='')}/dagRuns", body, headers)


def _basic(token: str) -> str:
    return f"Basic {base64.b64encode(token.encode()).decode()}"


def _aws(service: str) -> Any:
    try:
        return import_module("boto3").client(service)  # there in AWS, and with a registry in S3
    except ModuleNotFoundError as error:
        raise SettingsError("TRIGGER needs boto3, which is not installed", "uv add boto3") from error


def _stepfunctions(target: str, reason: str) -> Any:
    return _aws("stepfunctions").start_execution(stateMachineArn=target, input=json.dumps({"reason": reason}))


def _sagemaker(target: str, reason: str) -> Any:
    about = {"PipelineExecutionDescription": reason[:3000], "ClientRequestToken": uuid.uuid4().hex}
    return _aws("sagemaker").start_pipeline_execution(PipelineName=target, **about)


HTTP: dict[str, Callable[[str, str, str, str], Call]] = {
    "github": github,
    "gitlab": gitlab,
    "prefect": prefect,
    "airflow": airflow,
}
AWS: dict[str, Callable[[str, str], Any]] = {"stepfunctions": _stepfunctions, "sagemaker": _sagemaker}


def _needed(value: str, name: str) -> str:
    if not value:
        raise SettingsError(f"{name} is not set", "see the table in src/lifecycle/triggers.py")
    return value


def start(reason: str, token: Callable[[], str]) -> None:
    """Start retraining where TRIGGER says; token is asked only where one is used."""
    kind = _needed(os.environ.get("TRIGGER", ""), "TRIGGER")
    target = _needed(os.environ.get("TRIGGER_TARGET", ""), "TRIGGER_TARGET")
    if kind in AWS:
        AWS[kind](target, reason)
    elif kind in HTTP:
        url = os.environ.get("TRIGGER_URL", "").rstrip("/")
        HTTP[kind](target, url, token(), reason).send()
    else:
        raise SettingsError(f"TRIGGER is {kind!r}", f"one of {', '.join([*HTTP, *AWS])}")
