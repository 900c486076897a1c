"""Objects in an S3 bucket: create-only and compare-and-swap writes on AWS, MinIO, R2 and Ceph.

boto3 rather than a smaller client, because it alone takes credentials every way that people are used to:
AWS_PROFILE, SSO, an assumed role, a web identity, a container's or a machine's role.
"""

import base64
import hashlib
import random
import time
from collections.abc import Callable
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from ..errors import RegistryError
from .s3_objects import READERS

# A server that hangs or fails is given up after less than 20 seconds, with jitter between the attempts.
PATIENCE = Config(
    connect_timeout=3,
    read_timeout=5,
    max_pool_connections=READERS,
    retries={"mode": "standard", "total_max_attempts": 3},
    request_checksum_calculation="when_required",  # older MinIO and Ceph refuse more than Content-MD5
    response_checksum_validation="when_required",
)
BUSY, CHANGED = 409, 412  # "a conditional write is under way, try again"; "the condition does not hold"


class Bucket:
    """The store behind s3://bucket/prefix: a Store as s3_objects.py describes it."""

    def __init__(self, bucket: str, prefix: str) -> None:
        self.place = f"s3://{bucket}/{prefix}".rstrip("/")
        self._bucket, self._prefix = bucket, f"{prefix}/" if prefix else ""
        self._bare_tags = False  # AWS wants an ETag in its quotes, Ceph without them
        self._client: Any = self._clear(lambda: boto3.client("s3", config=PATIENCE))

    def _clear(self, call: Callable[[], Any]) -> Any:
        try:
            return call()
        except ClientError as error:
            if error.response["ResponseMetadata"]["HTTPStatusCode"] in (BUSY, CHANGED):
                raise
            facts = error.response["Error"]
            said = f"{facts.get('Code')}: {facts.get('Message') or 'no more was said'}"
            raise RegistryError(f"{self.place}: {said}", _advice(facts.get("Code", ""))) from error
        except (BotoCoreError, ValueError) as error:
            raise RegistryError(
                f"{self.place}: {error}",
                "check REGISTRY_URI, AWS_ENDPOINT_URL_S3, AWS_DEFAULT_REGION and your AWS credentials",
            ) from error

    def read(self, key: str) -> tuple[bytes, str] | None:
        def call() -> tuple[bytes, str] | None:
            try:
                got = self._client.get_object(Bucket=self._bucket, Key=self._prefix + key)
                return got["Body"].read(), got["ETag"]
            except self._client.exceptions.NoSuchKey:
                return None

        return self._clear(call)

    def create(self, key: str, data: bytes) -> bool:
        return self._put(key, data, {"IfNoneMatch": "*"}) or self._holds(key, data)

    def swap(self, key: str, data: bytes, tag: str) -> bool:
        if not tag:
            return self.create(key, data)
        for _ in range(2):
            if self._put(key, data, {"IfMatch": tag.strip('"') if self._bare_tags else tag}):
                return True
            found = self.read(key)
            if found is None or found[1] != tag:
                # The answer to an attempt that did succeed may have been lost: then these are our bytes.
                return found is not None and found[0] == data
            self._bare_tags = not self._bare_tags  # nobody changed it, so it was the quotes
        return False

    def _put(self, key: str, data: bytes, condition: dict[str, str]) -> bool:
        digest = base64.b64encode(hashlib.md5(data, usedforsecurity=False).digest()).decode()
        where = {"Bucket": self._bucket, "Key": self._prefix + key}
        for attempt in range(6):
            try:
                self._clear(
                    lambda: self._client.put_object(**where, Body=data, ContentMD5=digest, **condition)
                )
                return True
            except ClientError as error:
                if error.response["ResponseMetadata"]["HTTPStatusCode"] == CHANGED:
                    return False
                time.sleep(random.uniform(0, 0.1 * 2**attempt))
        raise RegistryError(f"{self.place}/{key} is being written by others all the time", "try again")

    def _holds(self, key: str, data: bytes) -> bool:
        found = self.read(key)
        return found is not None and found[0] == data

    def list(self, prefix: str) -> list[str]:
        def call() -> list[str]:
            pages = self._client.get_paginator("list_objects_v2")
            found = pages.paginate(Bucket=self._bucket, Prefix=self._prefix + prefix)
            keys = [item["Key"] for page in found for item in page.get("Contents", ())]
            return [key.removeprefix(self._prefix) for key in keys]

        return self._clear(call)

    def delete(self, key: str) -> None:
        self._clear(lambda: self._client.delete_object(Bucket=self._bucket, Key=self._prefix + key))


def _advice(code: str) -> str:
    if code in ("AccessDenied", "InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken", "403"):
        return "check your AWS credentials (AWS_PROFILE), and deploy/s3/ for what a role may do"
    if code == "NoSuchBucket":
        return "check REGISTRY_URI, or make the bucket"
    return "try again in a minute; if it stays, ask who runs that S3 server"
