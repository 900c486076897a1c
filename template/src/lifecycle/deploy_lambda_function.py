"""The function of this project in AWS, its versions, and the alias live that takes the traffic.

The alias's description says which registry version serves and which function versions a rollback goes to, the
nearest first; so a move of the alias is one write, and AWS refuses it (RevisionId) when somebody was faster.
"""

import json
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3

from .deploy_lambda_aws import NothingDeployed, clear, stack_name, upload

ALIAS = "live"
UNDO_DEPTH = 5


@dataclass(frozen=True)
class Live:
    """Where the alias points: the function's version, the registry's, and what rollbacks go to.

    weights: {function version: share of the requests} of a canary.
    """

    number: str
    version: str
    weights: dict[str, float]
    undo: tuple[str, ...]
    revision: str


class Function:
    """The function that serves; NothingDeployed when it is not there."""

    def __init__(self) -> None:
        self.name = stack_name()
        with clear():
            self._client: Any = boto3.client("lambda")
            try:
                facts = self._client.get_function_configuration(FunctionName=self.name)
            except self._client.exceptions.ResourceNotFoundException:
                raise NothingDeployed(
                    f"there is no function {self.name} in {self._client.meta.region_name}",
                    "make stack BUCKET=… (once); is AWS_DEFAULT_REGION right?",
                ) from None
        self.runtime: str = facts["Runtime"]
        place = facts.get("Environment", {}).get("Variables", {})
        self.bucket, self.prefix = place.get("WINDOWS_BUCKET", ""), place.get("WINDOWS_PREFIX", "")

    def live(self) -> Live:
        """Read the alias."""
        with clear():
            try:
                alias = self._client.get_alias(FunctionName=self.name, Name=ALIAS)
            except self._client.exceptions.ResourceNotFoundException:
                raise NothingDeployed(f"{self.name} has no alias {ALIAS}", "make stack") from None
        return self._live(alias)

    def _live(self, alias: dict[str, Any]) -> Live:
        number = alias["FunctionVersion"]
        _, _, undo = (alias.get("Description") or "").partition("before: ")
        weights = (alias.get("RoutingConfig") or {}).get("AdditionalVersionWeights") or {}
        return Live(number, self.version(number), weights, tuple(undo.split()), alias["RevisionId"])

    def version(self, number: str) -> str:
        """Return the registry's version that a version of the function holds."""
        with clear():
            facts = self._client.get_function_configuration(FunctionName=self.name, Qualifier=number)
        return facts.get("Description", "")

    def numbers(self) -> list[tuple[str, str]]:
        """Return the function's versions and the registry's in them, the newest first."""
        with clear():
            pages = self._client.get_paginator("list_versions_by_function").paginate(FunctionName=self.name)
            found = [item for page in pages for item in page["Versions"] if item["Version"] != "$LATEST"]
        return [(i["Version"], i["Description"]) for i in sorted(found, key=lambda i: -int(i["Version"]))]

    def publish(self, package: Path, version: str) -> str:
        """Upload a package and publish it; a release that publishes in between is noticed by its digest."""
        key = f"{self.prefix}/packages/{uuid.uuid4().hex}.zip"
        upload(package, self.bucket, key)
        with clear():
            store: Any = boto3.client("s3")
            try:
                code = self._client.update_function_code(
                    FunctionName=self.name, S3Bucket=self.bucket, S3Key=key
                )
                self._client.get_waiter("function_updated_v2").wait(FunctionName=self.name)
                published = self._client.publish_version(
                    FunctionName=self.name, CodeSha256=code["CodeSha256"], Description=version
                )
            finally:
                store.delete_object(Bucket=self.bucket, Key=key)  # Lambda has its own copy
            number = published["Version"]
            waiter = self._client.get_waiter("published_version_active")
            waiter.wait(FunctionName=self.name, Qualifier=number)
        return number

    def ask(self, number: str, event: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        """Send an event to a version; what the function raised comes back as status 500."""
        with clear():
            done = self._client.invoke(
                FunctionName=self.name, Qualifier=number, Payload=json.dumps(event).encode()
            )
            said = json.loads(done["Payload"].read())
        if "FunctionError" in done or "statusCode" not in said:
            return 500, said
        return said["statusCode"], json.loads(said["body"])

    def move(
        self, last: Live, number: str, undo: tuple[str, ...], canary: dict[str, float] | None = None
    ) -> Live:
        """Point the alias at a version, all requests or all but a canary's; Conflict if it has moved."""
        description = f"{self.version(number)}; before: {' '.join(undo[:UNDO_DEPTH])}"
        with clear():
            alias = self._client.update_alias(
                FunctionName=self.name,
                Name=ALIAS,
                FunctionVersion=number,
                Description=description,
                RoutingConfig={"AdditionalVersionWeights": canary or {}},
                RevisionId=last.revision,
            )
        return self._live(alias)

    def in_use(self) -> set[str]:
        """Return every version that an alias points at, sends a share to, or would be rolled back to."""
        used: set[str] = set()
        with clear():
            pages = self._client.get_paginator("list_aliases").paginate(FunctionName=self.name)
            aliases = [self._live(alias) for page in pages for alias in page["Aliases"]]
        for alias in aliases:
            used |= {alias.number, *alias.weights, *alias.undo[:1]}
        return used

    def delete(self, numbers: set[str]) -> None:
        """Delete versions, but none that is in use."""
        for number in sorted(numbers - self.in_use()):
            with clear():
                self._client.delete_function(FunctionName=self.name, Qualifier=number)
