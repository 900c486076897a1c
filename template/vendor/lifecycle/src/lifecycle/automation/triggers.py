"""Starts a retraining where this project does: by cron's script, else where TRIGGER says.

| TRIGGER       | TRIGGER_TARGET           | TRIGGER_URL (default)    | TRIGGER_TOKEN                      |
| github        | owner/repository         | https://api.github.com   | fine-grained, contents: write      |
| gitlab        | project id or group/name | https://gitlab.com       | pipeline trigger token             |
| prefect       | deployment id            | PREFECT_API_URL of yours | API key, or user:password; or none |
| airflow       | DAG id                   | of your API server       | user:password                      |
| stepfunctions | state machine's ARN      | (AWS)                    | (the function's role)              |
| sagemaker     | pipeline's name          | (AWS)                    | (the function's role)              |
"""

import base64
import json
import os
import subprocess
import uuid
from collections.abc import Callable
from importlib import import_module
from typing import Any
from urllib.parse import quote

from .. import http
from ..errors import LifecycleError, SettingsError, missing_extra
from ..project import Project

CRON = "orchestration/cron.sh"
TABLE = "see the table in lifecycle/automation/triggers.py"
HTTP = {"github": "https://api.github.com", "gitlab": "https://gitlab.com", "prefect": "", "airflow": ""}
AWS = ("stepfunctions", "sagemaker")


def start(project: Project, reason: str, token: Callable[[], str]) -> None:
    """Start a retraining, and do not wait for it. token is called only where one is used.

    Raises SettingsError if TRIGGER or what it needs is not set, LifecycleError if it could not be started.
    """
    if (script := (project.root / CRON).absolute()).is_file():
        subprocess.Popen([script, "retrain", reason], stdout=subprocess.DEVNULL, start_new_session=True)
        return
    kind, target = _variable("TRIGGER"), _variable("TRIGGER_TARGET")
    if kind in HTTP:
        _over_http(kind, target, token(), reason)
    elif kind in AWS:
        _aws(kind, target, reason)
    else:
        raise SettingsError(f"TRIGGER is {kind!r}", f"one of {', '.join([*HTTP, *AWS])}")


def _variable(name: str, default: str = "") -> str:
    if value := os.environ.get(name) or default:
        return value
    raise SettingsError(f"{name} is not set", TABLE)


def _over_http(kind: str, target: str, token: str, reason: str) -> None:
    url, headers = _variable("TRIGGER_URL", HTTP[kind]).rstrip("/"), {"Authorization": f"Bearer {token}"}
    match kind:
        case "github":  # https://docs.github.com/rest/repos/repos#create-a-repository-dispatch-event
            headers |= {"Accept": "application/vnd.github+json", "X-GitHub-Api-Version": "2022-11-28"}
            body: dict[str, Any] = {"event_type": "retrain", "client_payload": {"reason": reason}}
            _post(f"{url}/repos/{target}/dispatches", body, headers)
        case "gitlab":  # https://docs.gitlab.com/api/pipeline_triggers/#trigger-a-pipeline-with-a-token
            body = {"token": token, "ref": _variable("TRIGGER_REF", "main"), "variables[REASON]": reason}
            _post(f"{url}/api/v4/projects/{quote(target, safe='')}/trigger/pipeline", body, form=True)
        case "prefect":  # POST /deployments/{id}/create_flow_run of Prefect 3
            if ":" in token:
                headers["Authorization"] = f"Basic {base64.b64encode(token.encode()).decode()}"
            state = {"type": "SCHEDULED", "message": reason}
            body = {"parameters": {"reason": reason}, "state": state, "tags": ["retrain"]}
            _post(f"{url}/deployments/{target}/create_flow_run", body, headers if token else None)
        case "airflow":  # POST /dags/{id}/dagRuns of Airflow 3; its tokens expire, so each time asks for one
            user, _, password = token.partition(":")
            session = _post(f"{url}/auth/token", {"username": user, "password": password})
            headers["Authorization"] = f"Bearer {session['access_token']}"
            body = {"logical_date": None, "conf": {"reason": reason}, "note": reason[:1000]}
            _post(f"{url}/api/v2/dags/{quote(target, safe='')}/dagRuns", body, headers)


def _post(url: str, body: dict[str, Any], headers: dict[str, str] | None = None, form: bool = False) -> Any:
    """Return the answer. Raises LifecycleError with what was answered, but never with the token."""
    answer = http.send(url, body, headers, form)
    if answer.status >= 300:
        text = answer.body[:500].decode(errors="replace")
        raise LifecycleError(f"{url} answers {answer.status}: {text}", "check TRIGGER_TARGET and the token")
    return answer.json()


def _aws(kind: str, target: str, reason: str) -> None:
    try:
        client = import_module("boto3").client(kind)
    except ModuleNotFoundError as error:
        raise missing_extra("s3", error) from error
    if kind == "stepfunctions":
        client.start_execution(stateMachineArn=target, input=json.dumps({"reason": reason}))
    else:
        about = {"PipelineExecutionDescription": reason[:3000], "ClientRequestToken": uuid.uuid4().hex}
        client.start_pipeline_execution(PipelineName=target, **about)
