"""The function of this project in AWS: releases with a canary, the way back, and what serves.

The description of the alias live says which registry version serves and which function versions a rollback
goes to, the nearest first: a move is one write, and AWS refuses it (RevisionId) when somebody was faster.
CodeDeploy keeps no such list, takes minutes, and needs further rights and as much code to follow it.
"""

import json
import os
import signal
import sys
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import boto3
import click
from boto3.exceptions import Boto3Error
from botocore.exceptions import BotoCoreError, ClientError, WaiterError

from ...console import table
from ...errors import Conflict, LifecycleError
from ...project import Project
from .package import build_model, runtime
from .recorder import PROFILE

ALIAS = "live"
KEEP = 5  # versions of the function, of some 45 MB each, and of the rollbacks that can follow one another
POLL = 2.0  # seconds between two looks at the alarms
HEALTH = {"rawPath": "/health", "requestContext": {"http": {"method": "GET"}}, "headers": {}}
Weights, Undo = dict[str, float], tuple[str, ...]  # {function version: share of the requests}, versions
say = partial(click.echo, err=True)  # stdout is for the version
CONFLICTS = ("PreconditionFailedException", "ResourceConflictException", "PreconditionFailed")


class NothingDeployed(LifecycleError):
    """There is no function, or no alias."""

    exit_code = 3


@contextmanager
def clear_errors() -> Iterator[None]:
    """Turn the errors of AWS's client into NothingDeployed, Conflict or another LifecycleError."""
    try:
        yield
    except (Boto3Error, BotoCoreError, ClientError, WaiterError) as error:
        code = error.response["Error"].get("Code") if isinstance(error, ClientError) else ""
        if code == "ResourceNotFoundException":
            advice = "make stack BUCKET=… (once); is AWS_DEFAULT_REGION right?"
            raise NothingDeployed(f"there is no function with an alias {ALIAS}: {error}", advice) from error
        if code in CONFLICTS:
            text = f"somebody else releases or rolls back right now, and yours was not done: {error}"
            raise Conflict(text, "make status; then decide again") from error
        advice = "check AWS_PROFILE, AWS_DEFAULT_REGION, the network and what that role may do"
        raise LifecycleError(f"AWS: {error}", advice) from error


def stack_name(project: Project) -> str:
    """Return STACK, the name of the function and of what belongs to it; else the project's, and STAGE."""
    stage = os.environ.get("STAGE") or "production"
    own = project.name if stage == "production" else f"{project.name}-{stage}"
    return os.environ.get("STACK") or own


def upload(file: Path, bucket: str, key: str) -> str:
    """Put a file into a bucket and return its key."""
    boto3.client("s3").upload_file(str(file), bucket, key)
    return key


@dataclass(frozen=True)
class Live:
    """Where the alias points: the function's version, the registry's, a canary's weights, and the way back.

    undo: the function's versions that rollbacks go to. revision: changes with each move.
    """

    number: str
    version: str
    weights: Weights
    undo: Undo
    revision: str


class Function:
    """The function that serves, its versions and its alias. Methods raise the errors of AWS's client."""

    def __init__(self, project: Project) -> None:
        self.name = stack_name(project)
        self._client: Any = boto3.client("lambda")
        facts = self._client.get_function_configuration(FunctionName=self.name)
        self.runtime: str = facts["Runtime"]
        variables = facts.get("Environment", {}).get("Variables", {})
        self.bucket, self.prefix = variables.get("WINDOWS_BUCKET", ""), variables.get("WINDOWS_PREFIX", "")

    def live(self) -> Live:
        """Read the alias."""
        return self._live(self._client.get_alias(FunctionName=self.name, Name=ALIAS))

    def _live(self, alias: dict[str, Any]) -> Live:
        number = alias["FunctionVersion"]
        _, _, undo = (alias.get("Description") or "").partition("before: ")
        weights = (alias.get("RoutingConfig") or {}).get("AdditionalVersionWeights") or {}
        return Live(number, self.version(number), weights, tuple(undo.split()), alias["RevisionId"])

    def version(self, number: str) -> str:
        """Return the registry's version that a version of the function holds."""
        facts = self._client.get_function_configuration(FunctionName=self.name, Qualifier=number)
        return facts.get("Description", "")

    def numbers(self) -> list[tuple[str, str]]:
        """Return the function's versions and the registry's in them, the newest first."""
        pages = self._client.get_paginator("list_versions_by_function").paginate(FunctionName=self.name)
        found = [item for page in pages for item in page["Versions"] if item["Version"] != "$LATEST"]
        return [(i["Version"], i["Description"]) for i in sorted(found, key=lambda i: -int(i["Version"]))]

    def publish(self, package: Path, version: str) -> str:
        """Upload a package, publish it and return its number.

        AWS compares the digest, and refuses when another release was uploaded in between.
        """
        store, mine = boto3.client("s3"), {"FunctionName": self.name}
        key = upload(package, self.bucket, f"{self.prefix}/packages/{uuid.uuid4().hex}.zip")
        try:  # not uploaded to Lambda directly, which ends at 50 MB
            code = self._client.update_function_code(**mine, S3Bucket=self.bucket, S3Key=key)
            self._client.get_waiter("function_updated_v2").wait(**mine)
            made = self._client.publish_version(**mine, CodeSha256=code["CodeSha256"], Description=version)
        finally:
            store.delete_object(Bucket=self.bucket, Key=key)  # Lambda has its own copy
        self._client.get_waiter("published_version_active").wait(**mine, Qualifier=made["Version"])
        return made["Version"]

    def ask(self, number: str, event: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        """Send an event to a version; an error that the function raised is returned as status 500."""
        payload = json.dumps(event).encode()
        done = self._client.invoke(FunctionName=self.name, Qualifier=number, Payload=payload)
        answer = json.loads(done["Payload"].read())
        if "FunctionError" in done or "statusCode" not in answer:
            return 500, answer
        return answer["statusCode"], json.loads(answer["body"])

    def healthy(self, number: str, version: str) -> bool:
        """Return whether a version of the function predicts the row that came with the model."""
        status, answer = self.ask(number, HEALTH)
        if (status, answer.get("version")) == (200, version):
            return True
        say(f"version {number} of {self.name} answers {status}: {answer}")
        return False

    def move(self, last: Live, number: str, undo: Undo, weights: Weights | None = None) -> Live:
        """Point the alias at a version, all requests or all but a canary's; AWS refuses if `last` is old."""
        facts = {"Description": f"{self.version(number)}; before: {' '.join(undo[:KEEP])}"}
        facts |= {"FunctionVersion": number, "RevisionId": last.revision}
        shares = {"AdditionalVersionWeights": weights or {}}
        mine = {"FunctionName": self.name, "Name": ALIAS}
        return self._live(self._client.update_alias(**mine, **facts, RoutingConfig=shares))

    def delete(self, numbers: set[str]) -> None:
        """Delete versions, except those that an alias points at, sends a share to, or would roll back to."""
        pages = self._client.get_paginator("list_aliases").paginate(FunctionName=self.name)
        aliases = [self._live(alias) for page in pages for alias in page["Aliases"]]
        used = {number for a in aliases for number in (a.number, *a.weights, *a.undo[:1])}
        for number in sorted(numbers - used):
            self._client.delete_function(FunctionName=self.name, Qualifier=number)


@clear_errors()
def release(project: Project, version: str, folder: Path, again: bool, canary: float, seconds: float) -> None:
    """End with a version serving, whose model is in a folder, or with the one before still serving.

    again: publish anew what was published before, for changed settings of the stack. canary: percent of the
    requests that go to the version first, for so many seconds.
    Raises LifecycleError when the version is not healthy, or an alarm goes off.
    """
    function = Function(project)
    last = function.live()
    if last.version == version and not (last.weights or again) and function.healthy(last.number, version):
        return say(f"{version} serves already: nothing to do")
    number = next((number for number, held in function.numbers() if held == version and not again), "")
    if not number:
        if (ours := runtime(project)) != function.runtime:
            raise LifecycleError(f"{function.name} runs {function.runtime}, not {ours}", "make stack")
        package = build_model(project, version, folder)
        upload(folder / "profile.json", function.bucket, f"{function.prefix}/{PROFILE.format(version)}")
        number = function.publish(package, version)
    if not function.healthy(number, version):
        function.delete({number})
        text = f"{version} is not fit to serve; {last.version} still serves"
        raise LifecycleError(text, "AGAIN=1 make deploy")
    if last.number != number or last.weights:
        undo = last.undo if last.version == version else (last.number, *last.undo)
        if canary and last.number != number:
            last = _try(function, last, number, canary, seconds)
        function.move(last, number, undo)
    function.delete({old for old, _ in function.numbers()[KEEP:]})
    say(f"{version} serves as version {number} of {function.name}; before it was {last.version}")


def _try(function: Function, last: Live, number: str, canary: float, seconds: float) -> Live:
    """Send a share of the requests to a version for a while; end that when an alarm of the stack goes off."""
    say(f"{canary:g} % of the requests go to version {number}")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that it, too, ends the canary
    trial = function.move(last, last.number, last.undo, {number: canary / 100})
    until = time.monotonic() + seconds
    watch: Any = boto3.client("cloudwatch")
    try:
        while True:
            found = watch.describe_alarms(AlarmNamePrefix=f"{function.name}-live-")["MetricAlarms"]
            if alarms := ", ".join(one["AlarmName"] for one in found if one["StateValue"] == "ALARM"):
                raise LifecycleError(f"the alarm {alarms} went off", "make status; read the function's log")
            if time.monotonic() >= until:
                return trial
            time.sleep(POLL)
    except BaseException:
        function.move(trial, last.number, last.undo)
        say(f"live stays {last.version}")
        raise


@clear_errors()
def rollback(project: Project, expected: str = "") -> str:
    """Point the alias at the version before, all requests at once, or end a canary; return what serves.

    expected: what has to serve, or be tried as a canary, else Conflict is raised.
    """
    function = Function(project)
    last = function.live()
    if expected and expected not in (last.version, *(function.version(number) for number in last.weights)):
        raise Conflict(f"{last.version} serves here by now, not {expected}", "decide again: make status")
    if last.weights:
        function.move(last, last.number, last.undo)
        say(f"a canary was under way or was killed: every request goes to {last.version} again")
        return last.version
    if not last.undo:
        advice = "uv run lifecycle versions, then make deploy VERSION=…"
        raise LifecycleError(f"there is no version before {last.version} here", advice)
    now = function.move(last, last.undo[0], last.undo[1:])
    say(f"{now.version} serves again, version {now.number} of {function.name}; before it was {last.version}")
    return now.version


@clear_errors()
def status(project: Project, expected: str = "") -> tuple[str, LifecycleError | None]:
    """Return, as text, what serves and what a rollback goes to; and what is wrong with that, if anything."""
    function = Function(project)
    live = function.live()
    rows = []
    for number, held in function.numbers():
        alias = ALIAS if number == live.number else ""
        rows.append((number, held, alias, f"{live.weights.get(number, 0):.0%}"))
    code, answer = function.ask(live.number, HEALTH)
    serves, fault = answer.get("version", "no answer"), None
    text = table(("version", "model", "alias", "canary"), rows)
    text += f"\na rollback goes to: {function.version(live.undo[0]) if live.undo else 'nothing'}"
    text += f"\nlive: {serves} ({answer.get('status', answer)})"
    if live.weights:
        text += "\na canary is under way, or its release was killed: make rollback ends it"
    if code != 200:
        fault = LifecycleError(f"{function.name} is not healthy", "make rollback")
    elif expected and expected != serves:
        advice = f"make deploy, or make promote VERSION={serves} if that is what you want"
        fault = LifecycleError(f"{expected} should be live, not {serves}", advice)
    return text, fault
