"""Decide what the text of a column stands for, and which line of data.py turns it into that. Pure."""

from dataclasses import dataclass, replace
from typing import Any

import pandas as pd
from pandas.api import types

from lifecycle.columns import Kind

from .times import read_time

MISSING = {"", "na", "n/a", "n.a.", "nan", "null", "none", "-", "--", "?", ".", "#n/a", "<na>"}  # lower case
TRUE, FALSE = {"yes", "y", "true", "t", "1"}, {"no", "n", "false", "f", "0"}
GROUPS = (".", " ", "\u00a0", "\u202f")  # what divides thousands, where the comma is the decimal mark
CONTINENTAL = rf"[+-]?(?:\d+|[1-9]\d{{0,2}}(?:[{''.join(GROUPS)}]\d{{3}})+)(?:,\d+)?"  # 1.234,5 or 1 234,5
ENGLISH = r"[+-]?(?:\d+|[1-9]\d{0,2}(?:,\d{3})+)(?:\.\d+)?"  # 1,234.5
JUNK = 0.9  # of the distinct values are numbers: the others are faults, not categories


@dataclass(frozen=True)
class Reading:
    """What a column is. code: an expression over {x}, the column; fault: why there is no sound answer."""

    kind: Kind
    why: str = ""
    code: str = ""
    missing: tuple[str, ...] = ()  # what stands for a missing value in it, as spelled
    as_text: bool = False  # read_csv must not make numbers or flags of it
    fault: str = ""


def read_typed(column: pd.Series) -> Reading:
    """Decide on a column of a Parquet file that is not text."""
    checks: dict[Kind, Any] = {
        "boolean": types.is_bool_dtype,
        "integer": types.is_integer_dtype,
        "number": types.is_float_dtype,
        "datetime": types.is_datetime64_dtype,
    }
    for kind, check in checks.items():
        if check(column.dtype):
            return Reading(kind)
    if isinstance(column.dtype, pd.DatetimeTZDtype):
        return Reading("datetime", "turned to UTC", "{x}.dt.tz_convert(None)")
    inner = types.infer_dtype(column, skipna=True)
    if inner == "date":
        return Reading("datetime", code="pd.to_datetime({x})")
    if inner == "decimal":
        return Reading("number", code="{x}.astype(float)")
    return Reading("category", fault=f"holds {inner} values, which no model here takes")


def is_text(column: pd.Series) -> bool:
    return types.infer_dtype(column, skipna=True) in ("string", "empty")


def distinct(column: pd.Series) -> tuple[pd.Series, pd.Series]:
    """Return the distinct values as spelled, and those without the blanks around and the missing marks."""
    spelled = pd.Series(column.dropna().unique(), dtype="str")
    words = spelled.str.strip()
    return spelled, words[~words.str.lower().isin(MISSING)]


def decimal_comma(words: pd.Series) -> bool:
    """Say whether these are numbers that can only have a decimal comma."""
    sample = words.head(1000)
    return bool(len(sample) and sample.str.fullmatch(CONTINENTAL).all()) and not bool(
        sample.str.fullmatch(ENGLISH).all()
    )


def read_text(column: pd.Series, comma: bool, label: bool, parquet: bool) -> Reading:
    """Decide on a column of text. comma: the file writes decimal commas; label: it is the target."""
    spelled, words = distinct(column)
    if words.empty:
        return Reading("category", "nothing but missing values", missing=tuple(spelled))
    blanks = bool((spelled[words.index] != words).any())
    found = _number(words, comma) or (None if label else _boolean(words)) or _time(words)
    if not found:
        return _category(spelled, words, label, blanks)
    code = found.code or ("pd.to_numeric({x})" if parquet else "")  # read_csv makes numbers by itself
    code = code.replace("{x}", "{x}.str.strip()") if blanks else code
    return replace(found, code=code, missing=tuple(spelled.drop(words.index)))


def _number(words: pd.Series, comma: bool) -> Reading | None:
    numbers = pd.to_numeric(words, errors="coerce")
    if words.str.match(r"[+-]?0\d").any() or words.str.fullmatch(r"[+-]?\d{16,}").any():
        return None  # 01099: a code
    if numbers.notna().all():
        dotted = words[words.str.contains(".", regex=False)]
        if not (comma and len(dotted) and dotted.str.fullmatch(CONTINENTAL).all()):
            return Reading("number" if words.str.contains(r"[^\d+-]").any() else "integer")
    continental, english = words.str.fullmatch(CONTINENTAL).all(), words.str.fullmatch(ENGLISH).all()
    if continental and (comma or not english):
        kind = "number" if words.str.contains(",").any() else "integer"
        marks = [mark for mark in GROUPS if words.str.contains(mark, regex=False).any()]
        code = "{x}" + "".join(f'.str.replace("{mark}", "")' for mark in marks)
        code = (
            f'pd.to_numeric({code}.str.replace(",", "."))' if kind == "number" else f"pd.to_numeric({code})"
        )
        return Reading(kind, f"{_example(words, '[.,]')}: decimal comma", code, as_text=True)
    if english:
        kind = "number" if words.str.contains(".", regex=False).any() else "integer"
        code = 'pd.to_numeric({x}.str.replace(",", ""))'
        return Reading(kind, f"{_example(words, ',')}: the comma divides thousands", code, as_text=True)
    if len(words) > 50 and numbers.notna().mean() >= JUNK:
        odd = ", ".join(map(repr, words[numbers.isna()].head(3)))
        return Reading("number", fault=f"is a number, but in some rows {odd}")
    return None


def _example(words: pd.Series, pattern: str) -> str:
    return str(words[words.str.contains(pattern)].iloc[0])


def _boolean(words: pd.Series) -> Reading | None:
    seen = sorted(set(words.str.lower())) if len(words) < 50 else []
    if not seen or not set(seen) <= TRUE | FALSE:
        return None
    mapping = ", ".join(f'"{word}": {word in TRUE}' for word in seen)
    code = f'{{x}}.str.lower().map({{{mapping}}}).astype("boolean")'
    return Reading("boolean", " or ".join(seen), code, as_text=True)


def _time(words: pd.Series) -> Reading | None:
    found = read_time(words)
    return Reading("datetime", found[0], found[1], fault=found[2]) if found else None


def _category(spelled: pd.Series, words: pd.Series, label: bool, blanks: bool) -> Reading:
    """Take away stray blanks, and capitals where the same word is written in several ways."""
    lower = words.str.lower()
    mixed = lower.nunique() < words.nunique()
    code = ("{x}.str.strip()" if blanks or mixed else "") + (".str.lower()" if mixed else "")
    why = "blanks and capitals evened out" if mixed else "blanks taken away" if blanks else ""
    empty = spelled.drop(words.index)
    missing = empty if label else empty[empty.str.strip() == ""]
    numbers = pd.to_numeric(words, errors="coerce").notna().all() or set(lower) <= {"true", "false"}
    why = why or ("a code, not a number" if numbers else "")
    return Reading("category", why, code, tuple(missing), as_text=bool(numbers))
