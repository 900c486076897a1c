"""The sections of params.yaml that watch and react; settings.py has the others. Older files lack some."""

from collections.abc import Sequence
from datetime import UTC, datetime, time, timedelta

from pydantic import BaseModel, ConfigDict, Field, field_validator

DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
A_DAY = timedelta(days=1)


class Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Performance(Section):
    """When labelled rows say that the model got worse. worse: relative, of the error; drop: of a class's
    precision or recall in a week, absolute; window_hours: of predictions to look at, labels come late.
    """

    min_rows: int = Field(200, ge=1)
    window_hours: float = Field(672, gt=0)
    worse: float = Field(0.1, ge=0)
    drop: float = Field(0.05, ge=0, le=1)
    p_value: float = Field(0.01, gt=0, lt=1)


class Anomalies(Section):
    """Which rows are logged whole, and how many in a day by each process; 0 logs none.

    confidence: of the most probable class, below it; sigma: residuals over so many of the hold-out's, once
    labels come. hashed: personal columns that are logged as a keyed hash; dropped: those that are not logged.
    """

    most_a_day: int = Field(1000, ge=0)
    confidence: float = Field(0.55, ge=0, le=1)
    sigma: float = Field(3.0, gt=0)
    hashed: list[str] = []
    dropped: list[str] = []


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
