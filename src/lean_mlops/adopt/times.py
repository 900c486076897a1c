"""Times: the format that a column writes them in, and which of them the rows are split by. Pure."""

import re
from collections.abc import Iterator

import pandas as pd

from lifecycle.columns import Kind

DATE = r"(\d{1,4})([/.-])(\d{1,2})\2(\d{1,4})(.*)"
CLOCKS = ("", " %H:%M", " %H:%M:%S", " %H:%M:%S.%f", " %I:%M %p", " %I:%M:%S %p")


def read_time(words: pd.Series) -> tuple[str, str, str] | None:
    """Return why, the expression over {x} that parses the words, and a fault; None: they are no times."""
    if not re.match(r"\d{1,4}[/.-]", str(words.iloc[0])):
        return None
    fits = [f for f in _formats(str(words.iloc[0])) if _parses(words.head(1000), f) and _parses(words, f)]
    if not fits:
        return None
    if len(fits) > 1:
        first, second = (f.replace("%", "") for f in fits[:2])
        return "", "", (f"{words.iloc[0]} may be {first} or {second}, no row tells which")
    if fits[0] == "ISO8601" and words.str.contains(r":\d\d.*(?:Z|[+-]\d\d:?(?:\d\d)?)$").any():
        code = 'pd.to_datetime({x}, format="ISO8601", utc=True).dt.tz_localize(None)'
        return "turned to UTC", code, ""
    return fits[0].replace("%", ""), f'pd.to_datetime({{x}}, format="{fits[0]}")', ""


def _formats(word: str) -> Iterator[str]:
    """Yield the formats that a date such as 3/4/25 10:00 may have."""
    parts = re.fullmatch(DATE, word)
    if parts and len(parts[1]) == 4:
        yield "ISO8601"
    elif parts:
        sep, year = parts[2], "%Y" if len(parts[4]) == 4 else "%y"
        orders = [f"%d{sep}%m{sep}{year}"] + ([f"%m{sep}%d{sep}{year}"] if sep != "." else [])
        yield from (order + clock for order in orders for clock in CLOCKS)


def _parses(words: pd.Series, form: str) -> bool:
    try:
        pd.to_datetime(words, format=form, utc=form == "ISO8601")
    except ValueError:
        return False
    return True


def time_of(frame: pd.DataFrame, kinds: dict[str, Kind]) -> str | None:
    """Return the time that the rows were recorded in the order of, or None."""
    times = [name for name, kind in kinds.items() if kind == "datetime" and frame[name].notna().all()]
    ordered = [n for n in times if frame[n].is_monotonic_increasing or frame[n].is_monotonic_decreasing]
    return ordered[0] if len(ordered) == 1 and frame[ordered[0]].nunique() > 1 else None


def has_clock(times: pd.Series) -> bool:
    """Say whether times of day vary: a date alone gives no hour."""
    known = times.dropna()
    return bool(((known - known.dt.normalize()).nunique()) > 1)
