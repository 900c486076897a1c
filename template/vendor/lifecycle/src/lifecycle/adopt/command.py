"""The command that makes a project from a file of your own."""

from pathlib import Path
from typing import Any

import click

from .. import console
from ..project import Project
from .plan import Options
from .run import FILES, run

many = {"multiple": True, "metavar": "COLUMN"}


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--target", required=True, metavar="COLUMN", help="The column to predict.")
@click.option("--time", metavar="COLUMN", help="Time of a row: the newest rows become the hold-out.")
@click.option("--task", type=click.Choice(["regression", "classification"]), help="Default: by the target.")
@click.option("--drop", **many, help="Do not use a column; may be repeated.")
@click.option("--keep", **many, help="Use a column although it looks like an id or a copy of the target.")
@click.option("--drop-unlabelled", is_flag=True, help="Skip rows without a target.")
@click.option("--force", is_flag=True, help="Replace files that you have edited; copies are kept as *.bak.")
def adopt(file: Path, target: str, force: bool, **more: Any) -> None:
    """Write your package's data, schema, features and model for a CSV or Parquet FILE."""
    plan, done = run(Project.find(), file, Options(target, **more), force)
    for line in done:
        console.done(line)
    role = {target: "target", plan.time: "time"}
    rows = [(c.name, role.get(c.name, "input"), c.rule, plan.why.get(c.name, "")) for c in plan.columns]
    rows += [(name, "dropped", "", why) for name, why in plan.dropped.items()]
    cells = [[" ".join(cell.split()) for cell in row] for row in rows]  # a name may hold a line break
    click.echo(f"\n{console.table(('column', 'as', 'allowed', 'why'), cells)}\n")
    console.done(f"{plan.task}: {plan.why_task}")
    console.done(f"{plan.estimator}: {plan.why_model}")
    held = f"the newest rows by {plan.time}" if plan.time else "random rows (--time COLUMN takes the newest)"
    console.done(f"hold-out: {held}")
    console.done(f"{plan.rows:,} rows; wrote {', '.join(FILES)}")
    click.echo("\n  Check schema.py, then: make retrain")
