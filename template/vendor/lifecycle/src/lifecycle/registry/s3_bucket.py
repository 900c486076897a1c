"""Objects in an S3 bucket: writes that fail if somebody else was first, on AWS, MinIO, R2 and Ceph.

boto3 rather than a smaller client, because it alone takes credentials every way that people are used to:
AWS_PROFILE, SSO, an assumed role, a web identity, a container's or a machine's role.
"""

import base64
import hashlib
import random
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from ..errors import RegistryError

# A server that hangs or fails is given up after less than 20 seconds, with jitter between the attempts.
LIMITS = Config(
    connect_timeout=3,
    read_timeout=5,
    max_pool_connections=16,  # as many as the registry's readers
    retries={"mode": "standard", "total_max_attempts": 3},
    request_checksum_calculation="when_required",  # older MinIO and Ceph refuse more than Content-MD5
    response_checksum_validation="when_required",
)
BUSY, CHANGED = 409, 412  # "a conditional write is under way, try again"; "the condition does not hold"
DENIED = ("AccessDenied", "InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken", "403")
ADVICE = dict.fromkeys(
    DENIED, "check your AWS credentials (AWS_PROFILE), and deploy/s3/ for what a role may do"
)
ADVICE["NoSuchBucket"] = "check that address, or make the bucket"
WAIT = "try again in a minute; if it stays, ask who runs that S3 server"


class Bucket:
    """The store at s3://bucket/prefix: a Store as objects.py describes it."""

    def __init__(self, bucket: str, prefix: str) -> None:
        self.place = f"s3://{bucket}/{prefix}".rstrip("/")
        self._bucket, self._prefix = bucket, f"{prefix}/" if prefix else ""
        self._bare_tags = False  # AWS wants an ETag in its quotes, Ceph without them
        with self._clear_errors():
            self._client: Any = boto3.client("s3", config=LIMITS)

    @contextmanager
    def _clear_errors(self) -> Iterator[None]:
        try:
            yield
        except ClientError as error:
            facts = error.response["Error"]
            text = f"{facts.get('Code')}: {facts.get('Message') or 'without a message'}"
            raise RegistryError(f"{self.place}: {text}", ADVICE.get(facts.get("Code", ""), WAIT)) from error
        except (BotoCoreError, ValueError) as error:
            advice = "check that address, AWS_ENDPOINT_URL_S3, AWS_DEFAULT_REGION and your AWS credentials"
            raise RegistryError(f"{self.place}: {error}", advice) from error

    def read(self, key: str) -> tuple[bytes, str] | None:
        with self._clear_errors(), suppress(self._client.exceptions.NoSuchKey):
            got = self._client.get_object(Bucket=self._bucket, Key=self._prefix + key)
            return got["Body"].read(), got["ETag"]
        return None

    def swap(self, key: str, data: bytes, tag: str = "") -> bool:
        for _ in range(2):
            bare = tag.strip('"') if self._bare_tags else tag
            if self._put(key, data, **({"IfMatch": bare} if tag else {"IfNoneMatch": "*"})):
                return True
            found = self.read(key)
            if not tag or found is None or found[1] != tag:
                # The answer to an attempt that did succeed may have been lost: then these are our bytes.
                return found is not None and found[0] == data
            self._bare_tags = not self._bare_tags  # nobody changed it, so it was the quotes
        return False

    def _put(self, key: str, data: bytes, **condition: str) -> bool:
        """Write an object under a condition; False if the condition does not hold."""
        digest = base64.b64encode(hashlib.md5(data, usedforsecurity=False).digest()).decode()
        words = {"Bucket": self._bucket, "Key": self._prefix + key, "Body": data, "ContentMD5": digest}
        for attempt in range(6):
            with self._clear_errors():
                try:
                    self._client.put_object(**words, **condition)
                    return True
                except ClientError as error:
                    status = error.response["ResponseMetadata"]["HTTPStatusCode"]
                    if status == CHANGED:
                        return False
                    if status != BUSY:
                        raise
            time.sleep(random.uniform(0, 0.1 * 2**attempt))
        raise RegistryError(f"{self.place}/{key} is being written by others all the time", "try again")

    def list(self, prefix: str) -> list[str]:
        with self._clear_errors():
            pages = self._client.get_paginator("list_objects_v2")
            found = pages.paginate(Bucket=self._bucket, Prefix=self._prefix + prefix)
            keys = [item["Key"] for page in found for item in page.get("Contents", ())]
        return [key.removeprefix(self._prefix) for key in keys]

    def delete(self, key: str) -> None:
        with self._clear_errors():
            self._client.delete_object(Bucket=self._bucket, Key=self._prefix + key)
