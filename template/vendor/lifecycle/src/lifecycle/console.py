"""How commands talk to people: tables, what was done, what went wrong."""

import json
from collections.abc import Iterable, Sequence
from typing import Any

import click

WIDEST = 60  # characters of a table's cell
json_option = click.option("--json", "as_json", is_flag=True, help="For programs.")


def table(head: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """Return rows under a head, in aligned columns; numbers to the right."""
    cells = [[_short(cell) for cell in row] for row in rows]
    forms = []
    for title, *column in zip(head, *cells, strict=True):
        side = ">" if all(map(_number, column)) else "<"
        forms.append(f"{side}{max(map(len, (title, *column)))}")
    return "\n".join("  " + "  ".join(map(format, row, forms)).rstrip() for row in (head, *cells))


def show(found: Any, head: Sequence[str], rows: Sequence[Sequence[Any]], none: str, as_json: bool) -> None:
    """Print what was found as JSON, or as a table of rows, or as the text `none` where there is no row."""
    click.echo(json.dumps(found) if as_json else table(head, rows) if rows else none)


def _short(value: Any) -> str:
    text = f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)
    return text if len(text) <= WIDEST else text[: WIDEST - 1] + "…"


def _number(text: str) -> bool:
    return not text.strip() or text.replace(",", "").strip("%").replace("e-", "").replace(".", "").isdigit()


def done(text: str, detail: str = "") -> None:
    """Print what was done, behind a check mark."""
    click.echo(click.style("✓ ", fg="green", bold=True) + text + click.style(detail, dim=True))


def warn(text: str) -> None:
    """Print a warning to stderr."""
    click.echo(click.style("warning: ", fg="yellow", bold=True) + text, err=True)


def failed(text: str, next_step: str = "") -> None:
    """Print what went wrong, and what to type next, to stderr."""
    click.echo(click.style("error: ", fg="red", bold=True) + text, err=True)
    if next_step:
        click.echo(click.style("next:  ", bold=True) + next_step, err=True)
