"""What can go wrong and the exit code of each; and how commands talk to people: tables, errors.

 0  done                         4  DataError       the data breaks schema.py
 1  LifecycleError, or a crash   5  GateRejected    the candidate is not good enough
 2  drift found                  6  RegistryError   no such version, a race lost, registry down
 3  too few rows for a verdict     └ DigestMismatch a file is not what was published
64  wrong usage of a command     7  SettingsError   params.yaml or the environment
75  Busy: not now                8  ExportError     the estimator does not export to ONNX
"""

import os
import urllib.request
from collections.abc import Iterable, Sequence
from typing import Any

DRIFT, INSUFFICIENT_DATA, USAGE = 2, 3, 64
WIDEST = 60
SECONDS = 10  # that a heartbeat may take


class LifecycleError(Exception):
    """An error that a user can act on: what happened and where, then what to type next."""

    exit_code = 1

    def __init__(self, message: str, next_step: str = "") -> None:
        super().__init__(message)
        self.next_step = next_step


class DataError(LifecycleError):
    """The data breaks schema.py, or cannot be read."""

    exit_code = 4


class GateRejected(LifecycleError):
    """The candidate did not pass evaluate."""

    exit_code = 5


class RegistryError(LifecycleError):
    """The registry has no such version, refused, or cannot be reached."""

    exit_code = 6


class Busy(LifecycleError):
    """Retraining is going on, or was started not long ago."""

    exit_code = 75  # EX_TEMPFAIL of sysexits.h


class Conflict(RegistryError):
    """Somebody else moved the alias first."""


class DigestMismatch(RegistryError):
    """A file of a candidate is missing or is not what its manifest says."""


class SettingsError(LifecycleError):
    """params.yaml or an environment variable is wrong."""

    exit_code = 7


class ExportError(LifecycleError):
    """The estimator does not export to ONNX."""

    exit_code = 8


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
    import click  # here, because what is served raises these errors without it

    click.echo(click.style("✓ ", fg="green", bold=True) + text + click.style(detail, dim=True))


def failed(text: str, next_step: str = "") -> None:
    """Say what went wrong, and what to type next."""
    import click

    click.echo(click.style("error: ", fg="red", bold=True) + text, err=True)
    if next_step:
        click.echo(click.style("next:  ", bold=True) + next_step, err=True)


def heartbeat(what: str) -> None:
    """Ask LIFECYCLE_HEARTBEAT_URL as healthchecks.io takes it: /start, nothing more for success, /fail."""
    url = os.environ.get("LIFECYCLE_HEARTBEAT_URL", "").rstrip("/")
    try:
        if url:
            urllib.request.urlopen(url + what, timeout=SECONDS).close()
    except (OSError, ValueError) as error:
        failed(f"LIFECYCLE_HEARTBEAT_URL cannot be reached: {error}", "the run goes on; check that address")
