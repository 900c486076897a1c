"""Create or update the stack of deploy/lambda/template.yaml: once, and when that file or its answers change.

Apart from releases, because whoever may do this may make roles, and who releases a model need not. An update
leaves the alias live and the model alone: what it changes in the function's settings is served from the next
release on (AGAIN=1 make deploy).
"""

import hashlib
import os
import shlex
from pathlib import Path
from typing import Any

import boto3
import click
from botocore.exceptions import ClientError

from .cli import main
from .deploy_lambda_aws import clear, keep_profile, stack_name
from .deploy_lambda_package import build_events, build_model, runtime
from .errors import LifecycleError, SettingsError

TEMPLATE = Path("deploy/lambda/template.yaml")
NOTHING_NEW = "No updates are to be performed"


@click.command(help=__doc__)
@click.argument("version")
@click.argument("folder", type=click.Path(path_type=Path), default=Path("build/model"))
def stack(version: str, folder: Path) -> None:
    with clear():
        client: Any = boto3.client("cloudformation")
        before = _parameters(client)
        asked = _asked()
        bucket = os.environ.get("BUCKET") or before.get("Bucket")
        if not bucket:
            raise SettingsError("BUCKET is not set", "name one of yours in S3: make stack BUCKET=my-models")
        given = {
            "Bucket": bucket,
            "Prefix": before.get("Prefix", stack_name()),
            "Runtime": runtime(),
            **asked,
        }
        given["EventsPackage"] = _upload(bucket, given["Prefix"], build_events())
        if not before:
            given["Package"] = _upload(bucket, given["Prefix"], build_model(version, folder))
            given["Version"] = version
            keep_profile(bucket, given["Prefix"], version, folder)
        _apply(client, given, before)
    click.echo(f"the stack {stack_name()} is up to date", err=True)


def _asked() -> dict[str, str]:
    """Read PARAMETERS, such as: Trigger=github 'Retraining=cron(23 4 ? * MON *)'."""
    words = [word.partition("=") for word in shlex.split(os.environ.get("PARAMETERS", ""))]
    if bad := [name for name, equals, _ in words if not equals]:
        raise SettingsError(f"PARAMETERS has no value for {bad[0]}", "write it as Name=value Name=value")
    return {name: value for name, _, value in words}


def _parameters(client: Any) -> dict[str, str]:
    """Return the parameters of the stack; none while there is no stack."""
    try:
        found = client.describe_stacks(StackName=stack_name())["Stacks"][0]
    except ClientError as error:
        if "does not exist" in str(error):
            return {}
        raise
    return {item["ParameterKey"]: item["ParameterValue"] for item in found.get("Parameters", ())}


def _upload(bucket: str, prefix: str, package: Path) -> str:
    """Upload a package under its digest: the same one again changes nothing."""
    digest = hashlib.sha256(package.read_bytes()).hexdigest()[:16]
    key = f"{prefix}/packages/{package.stem}-{digest}.zip"
    boto3.client("s3").upload_file(str(package), bucket, key)
    return key


def _apply(client: Any, given: dict[str, str], before: dict[str, str]) -> None:
    name = stack_name()
    parameters: list[dict[str, Any]] = [
        {"ParameterKey": key, "UsePreviousValue": True} for key in before.keys() - given.keys()
    ]
    parameters += [{"ParameterKey": key, "ParameterValue": value} for key, value in given.items()]
    act, done = (client.update_stack, "update") if before else (client.create_stack, "create")
    try:
        act(
            StackName=name,
            TemplateBody=TEMPLATE.read_text(encoding="utf-8"),
            Parameters=parameters,
            Capabilities=["CAPABILITY_IAM", "CAPABILITY_AUTO_EXPAND"],
        )
        client.get_waiter(f"stack_{done}_complete").wait(StackName=name)
    except ClientError as error:
        if NOTHING_NEW not in str(error):
            raise
    except Exception as error:
        events = client.describe_stack_events(StackName=name)["StackEvents"]
        reasons = [e["ResourceStatusReason"] for e in events if "FAILED" in e["ResourceStatus"]]
        why = reasons[-1] if reasons else error
        raise LifecycleError(f"the stack {name}: {why}", "mend it; then make stack") from error


if __name__ == "__main__":
    main(stack)
