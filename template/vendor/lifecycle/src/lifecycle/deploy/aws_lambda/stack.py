"""Create or update the stack of deploy/lambda/template.yaml: once, and when that file or its answers change.

Apart from releases, because whoever may do this may make roles, and who releases a model need not. An update
leaves the alias live and the model alone: what it changes in the function's settings is served from the next
release on (AGAIN=1 make deploy).
"""

import shlex
from pathlib import Path
from typing import Any

import boto3
from botocore.exceptions import ClientError, WaiterError

from ...errors import LifecycleError, SettingsError
from ...model.package import digest
from ...project import Project
from .function import clear_errors, stack_name, upload
from .package import build, build_model, runtime
from .recorder import PROFILE

TEMPLATE = "deploy/lambda/template.yaml"


@clear_errors()
def stack(project: Project, version: str, folder: Path, bucket: str = "", parameters: str = "") -> str:
    """Create the stack, with a model's version, or update it. Returns its name.

    folder: of the version's model. bucket: of yours, for packages and counts; needed the first time.
    parameters: of the template that change, such as: Trigger=github 'Retraining=cron(23 4 ? * MON *)'.
    """
    name, client = stack_name(project), boto3.client("cloudformation")
    before = _parameters(client, name)
    bucket = bucket or before.get("Bucket", "")
    if not bucket:
        raise SettingsError("BUCKET is not set", "name one of yours in S3: make stack BUCKET=my-models")
    words = shlex.split(parameters)
    if without := [word for word in words if "=" not in word]:
        raise SettingsError(f"PARAMETERS has no value for {without[0]}", "write it as Name=value Name=value")
    prefix = before.get("Prefix", name)
    given = {"Bucket": bucket, "Prefix": prefix, "Runtime": runtime(project)}
    given |= dict(word.split("=", 1) for word in words)
    packages = {"EventsPackage": build(project, "lambda-events")}
    if not before:
        packages["Package"], given["Version"] = build_model(project, version, folder), version
        upload(folder / "profile.json", bucket, f"{prefix}/{PROFILE.format(version)}")
    for key, file in packages.items():  # under its digest: the same one again changes nothing
        given[key] = upload(file, bucket, f"{prefix}/packages/{file.stem}-{digest(file)[:16]}.zip")
    _apply(client, name, (project.root / TEMPLATE).read_text(encoding="utf-8"), given, before)
    return name


def _parameters(client: Any, name: str) -> dict[str, str]:
    """Return the parameters of the stack; none while there is no stack."""
    try:
        found = client.describe_stacks(StackName=name)["Stacks"][0]
    except ClientError as error:
        if "does not exist" in str(error):
            return {}
        raise
    return {item["ParameterKey"]: item["ParameterValue"] for item in found.get("Parameters", ())}


def _apply(client: Any, name: str, template: str, given: dict[str, str], before: dict[str, str]) -> None:
    values: list[dict[str, Any]]
    values = [{"ParameterKey": key, "UsePreviousValue": True} for key in before.keys() - given.keys()]
    values += [{"ParameterKey": key, "ParameterValue": value} for key, value in given.items()]
    act, done = (client.update_stack, "update") if before else (client.create_stack, "create")
    rights = ["CAPABILITY_IAM", "CAPABILITY_AUTO_EXPAND"]
    try:
        act(StackName=name, TemplateBody=template, Parameters=values, Capabilities=rights)
        client.get_waiter(f"stack_{done}_complete").wait(StackName=name)
    except ClientError as error:
        if "No updates are to be performed" not in str(error):
            raise
    except WaiterError as error:
        events = client.describe_stack_events(StackName=name)["StackEvents"]
        reasons = [e["ResourceStatusReason"] for e in events if "FAILED" in e["ResourceStatus"]]
        text = f"the stack {name}: {reasons[-1] if reasons else error}"
        raise LifecycleError(text, "fix it, then: make stack") from error
