"""The command that rehearses production: months of traffic, drawn from your own rows, with eight faults."""

import json
import os
from dataclasses import asdict
from pathlib import Path

import click

from .. import console, files, settings
from ..automation import policy
from ..monitoring.performance import live_model
from ..project import Project
from . import faults, loop, report


@click.command()
@click.option("--every", default=60.0, show_default=True, help="Minutes between two checks; cron's is 15.")
@click.option("--rows", default=40.0, show_default=True, help="Requests in an hour, on average.")
@click.option("--seed", default=1, show_default=True, help="The same seed gives the same months.")
@click.option("--month", "only", type=click.IntRange(1, len(faults.STORY)), help="Replay only this month.")
@click.option("--plot", type=click.Path(path_type=Path), help="Default: artifacts/simulation.svg")
@console.json_option
def simulate(
    every: float, rows: float, seed: int, only: int | None, plot: Path | None, as_json: bool
) -> None:
    """Replay months of traffic with injected faults and show how the system reacts."""
    project = Project.find()
    params, plot = settings.load(project), plot or project.artifacts / "simulation.svg"
    scene, months = loop.World(live_model(project), project.valid, params, rows), {}
    for number in [only] if only else range(1, len(faults.STORY) + 1):
        months[number] = loop.Replay(scene, faults.STORY[number - 1], every, seed + number).run()
        if not as_json:
            click.echo(report.lines(number, months[number]))
    files.write_text(plot, report.draw(list(months.values()), params.drift.ks, every, rows))
    if as_json:
        click.echo(json.dumps([asdict(month) | {"ks": []} for month in months.values()]))
    else:
        click.echo("\n" + console.table(report.HEAD, [report.row(*month) for month in months.items()]))
        where = os.path.relpath(policy.__file__)
        click.echo(f"\nThe picture is {plot}. {where} has the table of reactions.")
