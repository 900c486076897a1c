"""Words for people: aligned tables and a little colour, which click leaves out where it would disturb."""

from collections.abc import Iterable, Sequence
from typing import Any

import click

WIDEST = 60


def table(head: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """Return rows under a head, in aligned columns; numbers to the right."""
    cells = [[_short(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(head, *cells, strict=True)]
    right = [all(_number(row[i]) for row in cells) for i in range(len(head))]
    lines = [
        "  ".join(
            cell.rjust(width) if is_right else cell.ljust(width)
            for cell, width, is_right in zip(row, widths, right, strict=True)
        ).rstrip()
        for row in [list(head), *cells]
    ]
    return "\n".join("  " + line for line in lines)


def _short(value: Any) -> str:
    text = f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)
    return text if len(text) <= WIDEST else text[: WIDEST - 1] + "…"


def _number(text: str) -> bool:
    return not text.strip() or text.replace(",", "").strip("%").replace("e-", "").replace(".", "").isdigit()


def done(text: str, detail: str = "") -> None:
    """Say that something was done."""
    click.echo(click.style("✓ ", fg="green", bold=True) + text + click.style(detail, dim=True))


def failed(text: str, next_step: str = "") -> None:
    """Say what went wrong, and what to type next."""
    click.echo(click.style("error: ", fg="red", bold=True) + text, err=True)
    if next_step:
        click.echo(click.style("next:  ", bold=True) + next_step, err=True)
