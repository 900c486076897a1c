"""Fetch what the functions have counted: for the drift check, and for a person the logs beside the counts."""

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from math import ceil
from pathlib import Path

from ...files import write_text
from ...monitoring.serving_stats import HOUR
from ...registry.objects import Store
from .recorder import key

READERS = 16  # objects that are read at once
CHANGING = 4  # hours: a frozen environment writes the last rows of an hour when it answers again, or ends


def pull(store: Store, version: str, folder: Path, hours: float, logs: bool = False) -> None:
    """Make folder/version hold a version's counts of the last hours, as the store has them.

    logs: the predictions by id and the anomalies as well.
    """
    now, to = datetime.now(UTC), folder / version
    oldest, changing = (f"{now - timedelta(hours=ago):{HOUR}}" for ago in (hours, CHANGING))
    days = [f"windows/{version}/{now - timedelta(days=ago):%Y%m%d}/" for ago in range(ceil(hours / 24) + 1)]

    def copy(name: str) -> None:
        changes = "/" not in name and name >= changing  # a log's objects never do
        if (changes or not (to / name).exists()) and (found := store.read(key(version, name))):
            write_text(to / name, found[0].decode())

    with ThreadPoolExecutor(READERS) as pool:
        listed = zip(days, pool.map(store.list, days), strict=True)
        names = [name.removeprefix(day) for day, found in listed for name in found]
        counts = {name for name in names if "/" not in name and name >= oldest}
        list(pool.map(copy, [name for name in names if name in counts or (logs and "/" in name)]))
    for path in to.glob("*.json"):
        if path.name not in counts:
            path.unlink()
