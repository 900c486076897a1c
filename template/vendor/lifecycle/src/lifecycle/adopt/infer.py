"""Infers the kind of each column, and the expression in data.py that converts it. Pure functions."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace

import pandas as pd
from pandas.api import types

from ..data.schema import Kind, kind_of

MISSING = {"", "na", "n/a", "n.a.", "nan", "null", "none", "-", "--", "?", ".", "#n/a", "<na>"}  # lower case
TRUE, FALSE = {"yes", "y", "true", "t", "1"}, {"no", "n", "false", "f", "0"}
GROUPS = (".", " ", "\u00a0", "\u202f")  # thousands separators used with a decimal comma
CONTINENTAL = rf"[+-]?(?:\d+|[1-9]\d{{0,2}}(?:[{''.join(GROUPS)}]\d{{3}})+)(?:,\d+)?"  # 1.234,5 or 1 234,5
ENGLISH = r"[+-]?(?:\d+|[1-9]\d{0,2}(?:,\d{3})+)(?:\.\d+)?"  # 1,234.5
MOSTLY_NUMBERS = 0.9  # share of the distinct values, from which the others are faults rather than categories
FEW = 50  # distinct words: above it a column is no flag, and other text in it may be a fault
DATE = r"(\d{1,4})([/.-])(\d{1,2})\2(\d{1,4})(.*)"
ZONE = r":\d\d.*(?:Z|[+-]\d\d:?(?:\d\d)?)$"  # a time zone behind a time of day
CLOCKS = ("", " %H:%M", " %H:%M:%S", " %H:%M:%S.%f", " %I:%M %p", " %I:%M:%S %p")


@dataclass(frozen=True)
class Reading:
    """What a column is."""

    kind: Kind
    why: str = ""
    code: str = ""  # the expression that converts it, with {x} for the column; "" if none is needed
    missing: tuple[str, ...] = ()  # the texts in it that stand for a missing value, as spelled
    as_text: bool = False  # read_csv must not convert it by itself
    fault: str = ""  # why the column cannot be used


def _typed(column: pd.Series) -> Reading:
    """Return the reading of a column of a Parquet file that is not text."""
    if isinstance(column.dtype, pd.DatetimeTZDtype):
        return Reading("datetime", "converted to UTC", "{x}.dt.tz_convert(None)")
    kind = kind_of(str(column.dtype))
    if kind != "category":
        return Reading(kind)
    inner = types.infer_dtype(column, skipna=True)
    if inner == "date":
        return Reading("datetime", code="pd.to_datetime({x})")
    if inner == "decimal":
        return Reading("number", code="{x}.astype(float)")
    return Reading("category", fault=f"holds {inner} values, which no model here takes")


def _is_text(column: pd.Series) -> bool:
    return types.infer_dtype(column, skipna=True) in ("string", "empty")


def _distinct(column: pd.Series) -> tuple[pd.Series, pd.Series]:
    """Return the distinct values as spelled, and without surrounding blanks and texts that mean missing."""
    spelled = pd.Series(column.dropna().unique(), dtype="str")
    words = spelled.str.strip()
    return spelled, words[~words.str.lower().isin(MISSING)]


def decimal_comma(column: pd.Series) -> bool:
    """Return whether a column holds numbers that can only be read with a decimal comma."""
    sample = _distinct(column.head(5000))[1].head(1000) if _is_text(column) else pd.Series(dtype="str")
    continental = len(sample) and sample.str.fullmatch(CONTINENTAL).all()
    return bool(continental and not sample.str.fullmatch(ENGLISH).all())


def read_column(column: pd.Series, comma: bool, is_target: bool, parquet: bool) -> Reading:
    """Return the reading of a column. comma: a column of the file has decimal commas."""
    if not _is_text(column):
        return _typed(column)
    spelled, words = _distinct(column)
    if words.empty:
        return Reading("category", "only missing values", missing=tuple(spelled))
    blanks = bool((spelled[words.index] != words).any())
    found = _number(words, comma) or (None if is_target else _boolean(words)) or _time(words)
    if not found:
        return _category(spelled, words, is_target, blanks)
    code = found.code or ("pd.to_numeric({x})" if parquet else "")  # read_csv converts numbers by itself
    code = code.replace("{x}", "{x}.str.strip()") if blanks else code
    return replace(found, code=code, missing=tuple(spelled.drop(words.index)))


def _number(words: pd.Series, comma: bool) -> Reading | None:
    if words.str.match(r"[+-]?0\d").any() or words.str.fullmatch(r"[+-]?\d{16,}").any():
        return None  # a code such as 01099
    numbers = pd.to_numeric(words, errors="coerce")
    dotted = words[words.str.contains(".", regex=False)]
    dots_group = comma and len(dotted) and dotted.str.fullmatch(CONTINENTAL).all()
    if numbers.notna().all() and not dots_group:
        return Reading("number" if words.str.contains(r"[^\d+-]").any() else "integer")
    continental, english = words.str.fullmatch(CONTINENTAL).all(), words.str.fullmatch(ENGLISH).all()
    if continental and (comma or not english):
        groups = [mark for mark in GROUPS if words.str.contains(mark, regex=False).any()]
        return _separated(words, groups, ",")
    if english:
        return _separated(words, [","], ".")
    if len(words) > FEW and numbers.notna().mean() >= MOSTLY_NUMBERS:
        others = ", ".join(map(repr, words[numbers.isna()].head(3)))
        return Reading("number", fault=f"is a number, but in some rows {others}")
    return None


def _separated(words: pd.Series, groups: list[str], decimal: str) -> Reading:
    """Read numbers with thousands separators. decimal: the decimal mark."""
    kind = "number" if words.str.contains(decimal, regex=False).any() else "integer"
    code = "{x}" + "".join(f'.str.replace("{mark}", "")' for mark in groups)
    code += '.str.replace(",", ".")' if decimal == "," and kind == "number" else ""
    meaning = "decimal comma" if decimal == "," and kind == "number" else "with a thousands separator"
    shown = words[words.str.contains(f"[{''.join(groups)},]")].iloc[0]
    return Reading(kind, f"{shown}: {meaning}", f"pd.to_numeric({code})", as_text=True)


def _boolean(words: pd.Series) -> Reading | None:
    seen = sorted(set(words.str.lower())) if len(words) < FEW else []
    if not seen or not set(seen) <= TRUE | FALSE:
        return None
    mapping = ", ".join(f'"{word}": {word in TRUE}' for word in seen)
    code = f'{{x}}.str.lower().map({{{mapping}}}).astype("boolean")'
    return Reading("boolean", " or ".join(seen), code, as_text=True)


def _time(words: pd.Series) -> Reading | None:
    """Return the one format that parses every word; a fault if two formats do."""
    first = str(words.iloc[0])
    formats = list(_formats(first))
    for sample in (words.head(1000), words):
        times = (pd.to_datetime(sample, format=f, utc=f == "ISO8601", errors="coerce") for f in formats)
        formats = [form for form, parsed in zip(formats, times, strict=True) if parsed.notna().all()]
    if not formats:
        return None
    names = [form.replace("%", "") for form in formats]
    if len(names) > 1:
        return Reading("datetime", fault=f"{first} may be {names[0]} or {names[1]}, and no row shows which")
    if formats[0] == "ISO8601" and words.str.contains(ZONE).any():
        code = 'pd.to_datetime({x}, format="ISO8601", utc=True).dt.tz_localize(None)'
        return Reading("datetime", "converted to UTC", code)
    return Reading("datetime", names[0], f'pd.to_datetime({{x}}, format="{formats[0]}")')


def _formats(word: str) -> Iterator[str]:
    """Yield the formats that a time such as 3/4/25 10:00 may have."""
    parts = re.fullmatch(DATE, word)
    if parts and len(parts[1]) == 4:
        yield "ISO8601"
    elif parts:
        mark, year = parts[2], "%Y" if len(parts[4]) == 4 else "%y"
        orders = [f"%d{mark}%m{mark}{year}"] + ([f"%m{mark}%d{mark}{year}"] if mark != "." else [])
        yield from (order + clock for order in orders for clock in CLOCKS)


def _category(spelled: pd.Series, words: pd.Series, is_target: bool, blanks: bool) -> Reading:
    """Remove surrounding blanks, and capitals where one word is written in several ways."""
    lower = words.str.lower()
    mixed = lower.nunique() < words.nunique()
    code = ("{x}.str.strip()" if blanks or mixed else "") + (".str.lower()" if mixed else "")
    empty = spelled.drop(words.index)
    missing = empty if is_target else empty[empty.str.strip() == ""]
    numbers = pd.to_numeric(words, errors="coerce").notna().all() or set(lower) <= {"true", "false"}
    why = "a code, not a number" if numbers else ""
    why = "blanks and capitals removed" if mixed else "blanks removed" if blanks else why
    return Reading("category", why, code, tuple(missing), as_text=bool(numbers))
