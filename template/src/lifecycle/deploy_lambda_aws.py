"""What the commands for Lambda share: the name of the stack, files in its bucket, and clear errors."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import boto3
from botocore.exceptions import BotoCoreError, ClientError, WaiterError

from .errors import Conflict, LifecycleError
from .project import NAME

LOST = ("PreconditionFailedException", "ResourceConflictException", "PreconditionFailed")


class NothingDeployed(LifecycleError):
    """There is no function, or no alias."""

    exit_code = 3


def stack_name() -> str:
    """Return STACK, the name of the function and of what belongs to it; the project's by default."""
    return os.environ.get("STACK") or NAME


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
