"""Fetch what the functions have written: windows for the drift check, and by request the logs beside them."""

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import boto3

from ..monitoring.compaction import PULLED, STAMP
from ..project import write_text
from .aws_lambda_windows import place

READERS = 16  # windows that are read at once


def pull(version: str, folder: Path, hours: float, logs: bool = False) -> None:
    """Copy a version's windows of the last hours into a folder, those that are not there yet.

    logs: the predictions by id and the anomalies as well.
    """
    client: Any = boto3.client("s3")
    bucket, prefix = place()
    oldest = f"{datetime.now(UTC) - timedelta(hours=hours):{STAMP}}"
    where = f"{prefix}/windows/{version}/"
    pages = client.get_paginator("list_objects_v2")
    pages = pages.paginate(Bucket=bucket, Prefix=where, StartAfter=where + oldest)
    keys = [item["Key"] for page in pages for item in page.get("Contents", ())]
    keys = [key for key in keys if logs or "/" not in key.removeprefix(where)]

    def copy(key: str) -> None:
        to = folder / version / key.removeprefix(where)
        if not to.exists():
            write_text(to, client.get_object(Bucket=bucket, Key=key)["Body"].read().decode())

    write_text(folder / version / PULLED, "")
    with ThreadPoolExecutor(READERS) as pool:
        list(pool.map(copy, keys))
