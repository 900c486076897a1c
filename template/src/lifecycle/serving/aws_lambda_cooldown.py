"""One retraining in COOLDOWN_HOURS, however many events ask for one.

The last start is an object beside the windows, moved by compare-and-swap, so that of two events at once one
starts it. It is not in the registry because so both registries work alike, and this function needs neither
their clients (MLflow's would double the package) nor a right to change what is registered.
"""

import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import boto3
from botocore.exceptions import ClientError

from .aws_lambda_windows import place

CHANGED = (409, 412)  # somebody else writes, or has written


class TooSoon(Exception):
    """Retraining was started not long ago, or by another event at this moment."""


@contextmanager
def cooldown(reason: str) -> Iterator[None]:
    """Claim a start for the block; TooSoon if it is not time yet. A block that fails gives the claim back."""
    hours = float(os.environ.get("COOLDOWN_HOURS", "24"))
    store: Any = boto3.client("s3")
    bucket, prefix = place()
    where = {"Bucket": bucket, "Key": f"{prefix}/state/retrained.json"}
    last: dict[str, Any] = {"at": 0.0, "reason": ""}
    try:
        found = store.get_object(**where)
        last = json.loads(found["Body"].read())
        condition = {"IfMatch": found["ETag"]}
    except store.exceptions.NoSuchKey:
        condition = {"IfNoneMatch": "*"}
    waited = (time.time() - last["at"]) / 3600
    if waited < hours:
        raise TooSoon(
            f"the last start was {waited:.1f} h ago ({last['reason']}), the cooldown is {hours:g} h"
        )
    now = json.dumps({"at": time.time(), "reason": reason}).encode()
    try:
        claim = store.put_object(**where, **condition, Body=now)
    except ClientError as error:
        if error.response["ResponseMetadata"]["HTTPStatusCode"] in CHANGED:
            raise TooSoon("another event starts it at this moment") from error
        raise
    try:
        yield
    except BaseException:
        store.put_object(**where, IfMatch=claim["ETag"], Body=json.dumps(last).encode())
        raise
