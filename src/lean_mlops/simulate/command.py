"""`lifecycle simulate`: traffic drawn from your own rows, faults of eight kinds, and what the loop does."""

import json
import time
from dataclasses import asdict
from pathlib import Path

import click
import pandas as pd

from lifecycle import errors, settings
from lifecycle.errors import LifecycleError
from lifecycle.live import NOTHING_LIVE
from lifecycle.project import ARTIFACTS, VALID, write_text
from lifecycle.registry.contract import live_model

from . import plot
from .faults import STORY
from .loop import FAULT_DAY, Month, live_through
from .world import build

HEAD = ("month", "fault, from day 10", "found", "done", "after", "retrainings asked", "alerts")


@click.command()
@click.option("--every", default=60.0, show_default=True, help="Minutes between two checks; cron's is 15.")
@click.option("--rows", default=40.0, show_default=True, help="Requests in an hour, on average.")
@click.option("--seed", default=1, show_default=True, help="The same seed gives the same months.")
@click.option("--month", "only", type=click.IntRange(1, len(STORY)), help="Only this one.")
@click.option(
    "--plot", "to", default=ARTIFACTS / "simulation.svg", type=click.Path(path_type=Path), show_default=True
)
@click.option("--json", "as_json", is_flag=True, help="For programs.")
def simulate(every: float, rows: float, seed: int, only: int | None, to: Path, as_json: bool) -> None:
    """Live through months with faults in a minute: production's model, your rows, params.yaml's bars."""
    folder = live_model()
    if folder is None:
        raise LifecycleError(*NOTHING_LIVE)
    if not VALID.is_file():
        raise LifecycleError(f"{VALID} is not here", "run: make retrain")
    bars = settings.load()
    scene = build(folder, pd.read_parquet(VALID), bars, rows)
    chosen = [(n, fault) for n, fault in enumerate(STORY, start=1) if only in (None, n)]
    months = []
    for number, fault in chosen:
        start = time.perf_counter()
        months.append(live_through(scene, fault, every, seed + number))
        if not as_json:
            _tell(number, months[-1], time.perf_counter() - start)
    if as_json:
        click.echo(json.dumps([asdict(month) | {"ks": []} for month in months]))
    else:
        rows_of = [_row(number, month) for (number, _), month in zip(chosen, months, strict=True)]
        click.echo("\n" + errors.table(HEAD, rows_of))
    title = f"What the loop does: a check every {every:g} minutes, {rows:g} requests an hour"
    write_text(to, plot.draw(months, bars.drift.ks, title))
    if not as_json:
        click.echo(f"\nThe picture: {to}. The rules: the table in src/lifecycle/monitoring/policy.py.")


def _tell(number: int, month: Month, seconds: float) -> None:
    errors.done(f"month {number}: {month.fault.name}", f"  {month.checks:,} checks in {seconds:.1f} s")
    seen = set()
    for event in month.events:
        if event.alert and (event.found, event.did) not in seen:
            seen.add((event.found, event.did))
            click.echo(f"    day {event.day:4.1f}  {event.found}: {event.did}: {event.why}"[:110])


def _row(number: int, month: Month) -> tuple:
    first = month.first
    after = f"{(first.day - FAULT_DAY) * 24:.0f} h" if first else ""
    found, done = (first.found, first.did) if first else ("", "nothing")
    return number, month.fault.name, found, done, after, month.retrained, month.alerts
