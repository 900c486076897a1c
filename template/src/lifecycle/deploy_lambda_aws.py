"""What the commands for Lambda share: clear errors, the stack and its bucket; and the parts of a release."""

import os
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import boto3
import click
from botocore.exceptions import BotoCoreError, ClientError, WaiterError

from .deploy_lambda_package import build_model, runtime
from .errors import Conflict, LifecycleError
from .project import NAME

if TYPE_CHECKING:
    from .deploy_lambda_function import Function, Live

HEALTH = {"rawPath": "/health", "requestContext": {"http": {"method": "GET"}}, "headers": {}}
POLL = 2.0  # seconds
LOST = ("PreconditionFailedException", "ResourceConflictException", "PreconditionFailed")


class NothingDeployed(LifecycleError):
    """There is no function, or no alias."""

    exit_code = 3


def stack_name() -> str:
    """Return STACK, the name of the function and of what belongs to it; else the project's, and STAGE."""
    stage = os.environ.get("STAGE") or "production"
    return os.environ.get("STACK") or (NAME if stage == "production" else f"{NAME}-{stage}")


@contextmanager
def clear() -> Iterator[None]:
    """Turn what AWS says into errors that name the next step."""
    try:
        yield
    except ClientError as error:
        facts = error.response["Error"]
        said = f"AWS says {facts.get('Code')}: {facts.get('Message')}"
        if facts.get("Code") in LOST:
            raise Conflict(
                f"somebody else releases or rolls back right now, and yours was not done ({said})",
                "make status; then decide again",
            ) from error
        raise LifecycleError(
            said, "check AWS_PROFILE, AWS_DEFAULT_REGION and what that role may do"
        ) from error
    except (BotoCoreError, WaiterError) as error:
        raise LifecycleError(
            f"AWS: {error}", "check AWS_PROFILE, AWS_DEFAULT_REGION and the network"
        ) from error


def upload(package: Path, bucket: str, key: str) -> None:
    with clear():
        client: Any = boto3.client("s3")
        client.upload_file(str(package), bucket, key)


def keep_profile(bucket: str, prefix: str, version: str, folder: Path) -> None:
    """Put the training profile of a version where the drift check in the cloud finds it."""
    upload(folder / "profile.json", bucket, f"{prefix}/profiles/{version}.json")


def alarms(name: str) -> list[str]:
    """Return which alarms on the live function have gone off."""
    with clear():
        client: Any = boto3.client("cloudwatch")
        found = client.describe_alarms(AlarmNamePrefix=f"{name}-live-")["MetricAlarms"]
    return [alarm["AlarmName"] for alarm in found if alarm["StateValue"] == "ALARM"]


def say(text: str) -> None:
    click.echo(text, err=True)


def published(function: "Function", version: str, folder: Path, again: bool) -> str:
    """Return the function's version that holds a registry version, published now if there is none."""
    found = [number for number, described in function.numbers() if described == version]
    if found and not again:
        return found[0]
    if function.runtime != runtime():
        raise LifecycleError(f"{function.name} runs {function.runtime}, not {runtime()}", "make stack")
    package = build_model(version, folder)
    keep_profile(function.bucket, function.prefix, version, folder)
    return function.publish(package, version)


def fit(function: "Function", number: str, version: str) -> bool:
    """Ask one version of the function for its health: it predicts the row that came with the model."""
    status, answer = function.ask(number, HEALTH)
    if (status, answer.get("version")) == (200, version):
        return True
    say(f"version {number} of {function.name} answers {status}: {answer}")
    return False


def move(function: "Function", last: "Live", number: str) -> None:
    """Move the alias, after a canary where CANARY is set (percent of the requests, for CANARY_SECONDS)."""
    undo = last.undo if function.version(number) == last.version else (last.number, *last.undo)
    percent = float(os.environ.get("CANARY") or 0)
    if percent and number != last.number:
        say(f"{percent:g} % of the requests go to version {number}")
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that it, too, ends the canary
        trial = function.move(last, last.number, last.undo, {number: percent / 100})
        try:
            _watch(function.name, float(os.environ.get("CANARY_SECONDS") or 300))
        except BaseException:
            function.move(trial, last.number, last.undo)
            say(f"live stays {last.version}")
            raise
        last = trial
    function.move(last, number, undo)


def _watch(name: str, seconds: float) -> None:
    """Wait, and fail as soon as one of the stack's alarms goes off."""
    until = time.monotonic() + seconds
    while True:
        if gone_off := alarms(name):
            advice = "make status; look at the function's log"
            raise LifecycleError(f"the alarm {', '.join(gone_off)} went off", advice)
        if time.monotonic() >= until:
            return
        time.sleep(POLL)
