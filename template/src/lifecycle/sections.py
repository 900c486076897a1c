"""The section of params.yaml that says how the loop reacts; settings.py has the others, and reads all.

In a maintenance window nothing is done and nobody alerted, but all is recorded.
"""

from collections.abc import Sequence
from datetime import UTC, datetime, time, timedelta

from pydantic import BaseModel, ConfigDict, Field, field_validator

DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
A_DAY = timedelta(days=1)


class Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Policy(Section):
    """What is done about what a check finds: monitoring/policy.py has the table.

    maintenance: "Sun 02:00-04:30", "22:00-01:00" or "2026-12-24T18:00/2026-12-27", in UTC.
    """

    rollback_on_drift: bool = False
    drifts_in_a_row: int = Field(3, ge=1)
    least_checks: int = Field(12, ge=1)
    release_hours: float = Field(72, ge=0)
    repeat_hours: float = Field(24, ge=0)
    alerts_per_hour: int = Field(20, ge=1)
    runbooks: str = "docs/runbooks"
    maintenance: list[str] = []

    @field_validator("maintenance")
    @classmethod
    def windows(cls, maintenance: list[str]) -> list[str]:
        for window in maintenance:
            covers(window, 0.0)
        return maintenance


def window_of(windows: Sequence[str], now: float) -> str:
    """Return the window that now (seconds since 1970) lies in, or ""."""
    return next((window for window in windows if covers(window, now)), "")


def covers(window: str, now: float) -> bool:
    """Say whether a window is open; ValueError if it is none of the three forms."""
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
