"""AWS for tests: moto's server, with what AWS does and moto leaves out.

Functions really run, behind Lambda's own runtime client and emulator; SAM templates are transformed by AWS's
own translator; a stack makes aliases; and a release that was overtaken is refused (RevisionId, CodeSha256).

    python aws_double.py PORT FOLDER EMULATOR PYTHON      in an environment with moto[server] and aws-sam-cli
"""

import hashlib
import io
import json
import os
import signal
import sys
import threading
import uuid
import zipfile
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from moto.awslambda import models
from moto.awslambda.exceptions import PreconditionFailedException
from moto.awslambda.models import LambdaFunction, LambdaVersion
from moto.awslambda.responses import LambdaResponse
from moto.cloudformation import parsing
from moto.cloudformation.models import CloudFormationBackend
from moto.core.common_models import CloudFormationModel
from moto.server import main
from samtranslator.translator.transform import transform
from samtranslator.yaml_helper import yaml_parse
from services.aws import Emulator

PORT, FOLDER, EMULATOR, PYTHON = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]), Path(sys.argv[4])
running: list[Emulator] = []
idle: dict[str, list[Emulator]] = defaultdict(list)
starter = ThreadPoolExecutor(1)  # an emulator ends with the thread that started it, so with none of a request
one_at_a_time = threading.RLock()


def invoke(self: LambdaFunction, body: Any, request_headers: Any, response_headers: Any) -> bytes:
    """Run a function as Lambda does: in an idle environment of this version and settings, or in a new one."""
    settings = {"AWS_LAMBDA_FUNCTION_NAME": self.function_name, **self.environment_vars}
    settings = {name: str(value) for name, value in settings.items()}
    key = hashlib.sha256(f"{self.function_arn} {self.code_sha_256} {settings}".encode()).hexdigest()[:16]
    with one_at_a_time:
        if idle[key]:
            emulator = idle[key].pop()
        else:
            task = FOLDER / f"{key}-{len(running)}"
            with zipfile.ZipFile(io.BytesIO(self.code_bytes)) as package:
                package.extractall(task)
            settings["AWS_ENDPOINT_URL"] = f"http://127.0.0.1:{PORT}"
            emulator = starter.submit(Emulator, EMULATOR, PYTHON, task, self.handler, settings).result()
            running.append(emulator)
    said = emulator.invoke(json.loads(body or "{}"))
    if emulator.process.poll() is None:
        idle[key].append(emulator)
    if isinstance(said, dict) and "errorMessage" in said:
        response_headers["x-amz-function-error"] = "Unhandled"
    return json.dumps(said).encode()


def of_a_version(act: Any) -> Any:
    """Run the version that was asked for, where moto runs the newest."""

    def wrapper(self: LambdaResponse) -> Any:
        self.querystring["qualifier"] = self.querystring.get("Qualifier", ["$LATEST"])
        return act(self)

    return wrapper


def never_twice(act: Any) -> Any:
    """Give each published version a number of its own, where moto takes that of a deleted one."""
    published: dict[str, list[LambdaFunction]] = defaultdict(list)

    def wrapper(self: models.LambdaStorage, name: str, description: str = "") -> Any:
        made = act(self, name, description)
        if made not in published[made.function_name]:
            published[made.function_name].append(made)
            made.set_version(len(published[made.function_name]))
            self._arns[made.function_arn] = made
        return made

    return wrapper


def guarded(act: Any, check: Any) -> Any:
    """Let nobody in between the check of a condition and the act."""

    def wrapper(self: LambdaResponse) -> Any:
        with one_at_a_time:
            check(self, json.loads(self.body or "{}"))
            return act(self)

    return wrapper


def same_revision(self: LambdaResponse, body: dict[str, Any]) -> None:
    name, _, alias = self.path.rsplit("/", 2)
    found = self.backend.get_alias(alias, name.rsplit("/", 1)[-1])
    if body.get("RevisionId", found.revision_id) != found.revision_id:
        raise PreconditionFailedException("The Revision Id provided does not match the latest Revision Id.")
    found.revision_id = str(uuid.uuid4())


def same_code(self: LambdaResponse, body: dict[str, Any]) -> None:
    found = self.backend.get_function(self.path.split("/")[-2])
    if body.get("CodeSha256", found.code_sha_256) != found.code_sha_256:
        raise PreconditionFailedException("CodeSHA256 is different from current CodeSHA256 in $LATEST.")


class Alias(CloudFormationModel):
    __module__ = models.__name__  # by which moto keeps its models apart

    @staticmethod
    def cloudformation_type() -> str:
        return "AWS::Lambda::Alias"

    @staticmethod
    def cloudformation_name_type() -> str:
        return "Name"

    @classmethod
    def create_from_cloudformation_json(
        cls, resource_name: str, cloudformation_json: Any, account_id: str, region_name: str, **_: Any
    ) -> "Alias":
        facts, alias = cloudformation_json["Properties"], cls()
        backend = models.lambda_backends[account_id][region_name]
        made = backend.create_alias(facts["Name"], facts["FunctionName"], facts["FunctionVersion"], "", None)
        alias.physical_resource_id = made.arn
        return alias


class Url(CloudFormationModel):
    __module__ = models.__name__

    @staticmethod
    def cloudformation_type() -> str:
        return "AWS::Lambda::Url"

    @staticmethod
    def cloudformation_name_type() -> str:
        return ""

    @classmethod
    def has_cfn_attr(cls, attr: str) -> bool:
        return attr == "FunctionUrl"

    def get_cfn_attribute(self, _: str) -> str:
        return "https://url.lambda-url.us-east-1.on.aws/"

    @classmethod
    def create_from_cloudformation_json(cls, resource_name: str, *_: Any, **__: Any) -> "Url":
        url = cls()
        url.physical_resource_id = resource_name
        return url


def version_with_description(
    cls: Any, resource_name: str, cloudformation_json: Any, account_id: str, region_name: str, **_: Any
) -> LambdaVersion:
    facts = cloudformation_json["Properties"]
    backend = models.lambda_backends[account_id][region_name]
    made = backend.publish_version(facts["FunctionName"], facts.get("Description", ""))
    return LambdaVersion({"Version": made.version})


def transformed(act: Any) -> Any:
    """Turn a SAM template into CloudFormation's, as AWS does when a stack is created."""

    class NoManagedPolicies:
        def load(self) -> dict[str, str]:
            return {}

    def wrapper(self: CloudFormationBackend, name: str, template: str, *words: Any, **named: Any) -> Any:
        given = named.get("parameters") or {}
        if isinstance(given, list):
            known = self.get_stack(name).parameters  # and not what has only a default
            given = [p for p in given if "ParameterValue" in p or p["ParameterKey"] in known]
            named["parameters"] = given
            given = self._resolve_update_parameters(self.get_stack(name), given)
        plain = transform(yaml_parse(template), dict(given), NoManagedPolicies())
        return act(self, name, json.dumps(plain), *words, **named)

    return wrapper


def without_no_value(clean: Any) -> Any:
    """Leave what is AWS::NoValue out of lists."""

    def wrapper(value: Any, resources: Any) -> Any:
        cleaned = clean(value, resources)
        return [item for item in cleaned if item is not None] if isinstance(cleaned, list) else cleaned

    return wrapper


parsing.clean_json = without_no_value(parsing.clean_json)
LambdaFunction.invoke = invoke
models.LambdaStorage.publish_version = never_twice(models.LambdaStorage.publish_version)
LambdaResponse.invoke = of_a_version(LambdaResponse.invoke)
LambdaResponse.update_alias = guarded(LambdaResponse.update_alias, same_revision)
LambdaResponse.publish_version = guarded(LambdaResponse.publish_version, same_code)
LambdaVersion.get_cfn_attribute = lambda self, _: str(self.version)
LambdaVersion.create_from_cloudformation_json = classmethod(version_with_description)
for act in ("create_stack", "update_stack"):
    setattr(CloudFormationBackend, act, transformed(getattr(CloudFormationBackend, act)))


def end(*_: Any) -> None:
    for emulator in running:
        emulator.stop()
    os._exit(0)


signal.signal(signal.SIGTERM, end)
if __name__ == "__main__":
    main(["--port", PORT])
