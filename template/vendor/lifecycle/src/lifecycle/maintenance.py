"""Maintenance windows: times in which nothing is done and nobody is alerted."""

from collections.abc import Sequence
from datetime import UTC, datetime, time, timedelta

DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
A_DAY = timedelta(days=1)


def window_of(windows: Sequence[str], now: float) -> str:
    """Return the window that `now` (seconds since 1970) lies in, or ""."""
    return next((window for window in windows if covers(window, now)), "")


def check_window(window: str) -> str:
    """Return a window as it is. Raises ValueError if it is none."""
    covers(window, 0.0)
    return window


def covers(window: str, now: float) -> bool:
    """Return whether a window contains `now`. Raises ValueError if it is none.

    A window is "Sun 02:00-04:30", "22:00-01:00" (every day) or "2026-12-24T18:00/2026-12-27", in UTC.
    """
    moment = datetime.fromtimestamp(now, UTC)
    if "/" in window:
        begin, end = (datetime.fromisoformat(part).replace(tzinfo=UTC) for part in window.split("/"))
        return begin <= moment < end
    day, _, hours = window.rpartition(" ")
    if day not in ("", *DAYS):
        raise ValueError(f"{day} is none of {', '.join(DAYS)}")
    first, last = (time.fromisoformat(part) for part in hours.split("-"))
    length = timedelta(minutes=(last.hour - first.hour) * 60 + last.minute - first.minute) % A_DAY
    starts = [datetime.combine(moment - days * A_DAY, first, UTC) for days in (0, 1)]
    return any(start <= moment < start + length and day in ("", DAYS[start.weekday()]) for start in starts)
