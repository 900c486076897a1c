"""One start in some hours, however many ask for one: retraining in COOLDOWN_HOURS, merging windows.

The last start is an object beside the windows, moved by compare-and-swap, so that of two at once one starts.
It is not in the registry because so both registries work alike, and this function needs neither their clients
(MLflow's would double the package) nor a right to change what is registered.
"""

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import boto3
from botocore.exceptions import ClientError

from .aws_lambda_windows import place

CHANGED = (409, 412)  # somebody else writes, or has written


class TooSoon(Exception):
    """It was started not long ago, or by another event at this moment."""


@contextmanager
def cooldown(what: str, hours: float, reason: str) -> Iterator[None]:
    """Claim a start for the block; TooSoon if it is not time yet. A block that fails gives the claim back.

    what: one word for what is started, such as "retrained"; each has a cooldown of its own.
    """
    store: Any = boto3.client("s3")
    bucket, prefix = place()
    where = {"Bucket": bucket, "Key": f"{prefix}/state/{what}.json"}
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
