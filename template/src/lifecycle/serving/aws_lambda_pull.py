"""Fetch what the functions have written: windows for the drift check, and by request the logs beside them."""

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import boto3
from botocore.config import Config

from ..monitoring import compaction
from ..project import write_text
from .aws_lambda_cooldown import TooSoon, cooldown
from .aws_lambda_windows import place

READERS = 16  # windows that are read at once
ALONE_HOURS = 0.25  # for a merge: three times as long as Lambda lets the function live
DELETED = 1000  # keys at most, in one request


def pull(version: str, folder: Path, hours: float, logs: bool = False) -> None:
    """Make a folder hold a version's windows of the last hours, as the bucket has them.

    logs: the predictions by id and the anomalies as well.
    """
    write_text(folder / version / compaction.PULLED, "")
    client: Any = boto3.client("s3", config=Config(max_pool_connections=READERS))
    while not _copy(client, version, folder / version, hours, logs):
        continue  # merged since it was listed: what it became is in a new list


def tidy(version: str, folder: Path) -> None:
    """Merge a version's windows in the bucket as those of a server are in its folder, when there are many.

    folder: as pull left it. Killed at any point, the bucket counts each row once: see compaction.py.
    """
    names = _names(folder / version)
    if len(names) <= compaction.MOST:
        return
    client: Any = boto3.client("s3")
    try:
        with cooldown("merged", ALONE_HOURS, f"{len(names)} windows of {version}"):
            compaction.merge(folder / version)
            left = _names(folder / version)
            for name in left - names:
                body = (folder / version / name).read_bytes()
                client.put_object(**_key(version, name), Body=body)
            old = [{"Key": _key(version, name)["Key"]} for name in sorted(names - left)]
            for first in range(0, len(old), DELETED):
                some = {"Objects": old[first : first + DELETED], "Quiet": True}
                failed = client.delete_objects(Bucket=place()[0], Delete=some).get("Errors")
                if failed:
                    raise OSError(f"windows cannot be deleted: {failed[0]}")
    except TooSoon:
        return  # another check is at it


def _copy(client: Any, version: str, folder: Path, hours: float, logs: bool) -> bool:
    """Copy what is not there yet and remove what is there no more; False if something went meanwhile."""
    where, oldest = _key(version, ""), f"{datetime.now(UTC) - timedelta(hours=hours):{compaction.STAMP}}"
    pages = client.get_paginator("list_objects_v2")
    pages = pages.paginate(Bucket=where["Bucket"], Prefix=where["Key"], StartAfter=where["Key"] + oldest)
    names = {item["Key"].removeprefix(where["Key"]) for page in pages for item in page.get("Contents", ())}

    def copy(name: str) -> None:
        if not (folder / name).exists():
            write_text(folder / name, client.get_object(**_key(version, name))["Body"].read().decode())

    for name in _names(folder) - names:
        (folder / name).unlink()
    try:
        with ThreadPoolExecutor(READERS) as pool:
            list(pool.map(copy, (name for name in sorted(names) if logs or "/" not in name)))
    except client.exceptions.NoSuchKey:
        return False
    return True


def _key(version: str, name: str) -> dict[str, str]:
    bucket, prefix = place()
    return {"Bucket": bucket, "Key": f"{prefix}/windows/{version}/{name}"}


def _names(folder: Path) -> set[str]:
    return {path.name for path in folder.glob("*.json")}
