"""`lifecycle adopt`: write data.py, schema.py, features.py and model.py for a file of your own."""

import shlex
from pathlib import Path

import click

from lifecycle import errors, project
from lifecycle.errors import DataError, LifecycleError
from lifecycle.project import PARAMS, write_text

from . import plan as planning
from . import read, write
from .decide import Task
from .refuse import Fault

many = {"multiple": True, "metavar": "COLUMN"}


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--target", required=True, metavar="COLUMN", help="What to predict.")
@click.option("--time", metavar="COLUMN", help="When a row was known: the newest rows become the hold-out.")
@click.option("--task", type=click.Choice(["regression", "classification"]), help="Else by the target.")
@click.option("--drop", **many, help="Leave a column out; may be repeated.")
@click.option("--keep", **many, help="Keep a column that looks like an id or a copy of the target.")
@click.option("--drop-unlabelled", is_flag=True, help="Leave rows without a target out.")
@click.option("--force", is_flag=True, help="Replace files that you have edited; copies stay as *.bak.")
def adopt(
    file: Path,
    target: str,
    time: str | None,
    task: Task | None,
    drop: tuple[str, ...],
    keep: tuple[str, ...],
    drop_unlabelled: bool,
    force: bool,
) -> None:
    """Make the project yours: write data, schema, features and model for a CSV or Parquet FILE."""
    folder = Path("src") / project.PACKAGE
    if not (PARAMS.is_file() and folder.is_dir()):
        raise LifecycleError("params.yaml is not here", "run the command from the project's root folder")
    wish = planning.Wish(target, time, task, drop, keep, drop_unlabelled)
    to, taken = write.home(file)
    plan = planning.make(read.read(file), to.as_posix(), wish)
    plan.faults += _in_the_way(folder, to if taken else None, plan.estimator, force)
    if plan.faults:
        raise _refusal(file, wish, plan.faults, force)
    _write(file, to, folder, plan, force)
    _show(plan, wish)


def _in_the_way(folder: Path, taken: Path | None, estimator: str, force: bool) -> list[Fault]:
    faults = [Fault(f"{taken} is another file: rename yours")] if taken else []
    if force:
        return faults
    edited = [str(folder / name) for name in write.FILES if write.edited(folder / name)]
    if estimator and write.new_params(estimator)[1]:
        edited.append(f"the model section of {PARAMS}")
    if edited:
        what = f"you have edited {', '.join(edited)}: --force replaces them and keeps copies as *.bak"
        faults.append(Fault(what, ("--force",)))
    return faults


def _refusal(file: Path, wish: planning.Wish, faults: list[Fault], force: bool) -> DataError:
    """Tell every fault, and the one command line that gets past those that an option can help."""
    options = {fault.option: None for fault in faults if fault.option}  # each once, in their order
    given = [("--target", wish.target), ("--time", wish.time), ("--task", wish.task)]
    words = ["uv", "run", "lifecycle", "adopt", str(file)]
    for option, value in given:
        if value and not any(found[0] == option for found in options):
            words += [option, value]
    words += [word for name in wish.drop for word in ("--drop", name)]
    words += [word for name in wish.keep for word in ("--keep", name)]
    words += ["--drop-unlabelled"] * wish.drop_unlabelled + ["--force"] * force
    command = shlex.join(words + [word for option in options for word in option])
    told = "\n".join(f"  - {fault.what}" for fault in faults)
    mend = (
        ""
        if all(fault.option for fault in faults)
        else "mend the rest, then: "
        if options
        else "mend it, then: "
    )
    return DataError(f"{file} is not adopted, nothing was written:\n{told}", mend + command)


def _write(file: Path, to: Path, folder: Path, plan: planning.Plan, force: bool) -> None:
    if file.resolve() != to.resolve():
        write.bring(file, to)
        errors.done(f"{file} is copied to {to}")
    before = PARAMS.read_text(encoding="utf-8")
    after, yours = write.new_params(plan.estimator)
    copies = write.write(folder, write.formatted(plan.files), keep_old=force)
    if yours:
        write_text(PARAMS.with_name(PARAMS.name + ".bak"), before)
        copies.append(PARAMS.with_name(PARAMS.name + ".bak"))
    if after != before:
        write_text(PARAMS, after)
        errors.done(f"{PARAMS}: the model section now holds what {plan.estimator} takes")
    for copy in copies:
        errors.done(f"your edited file is kept as {copy}")


def _show(plan: planning.Plan, wish: planning.Wish) -> None:
    """Tell what was decided on each column and why."""
    role = {wish.target: "target", plan.time: "time"}
    rows = [
        (column.name, role.get(column.name, "input"), column.rule, plan.why.get(column.name, ""))
        for column in plan.columns
    ]
    left = [(name, "left out", "", why) for name, why in plan.dropped.items()]
    cells = [[" ".join(cell.split()) for cell in row] for row in rows + left]  # a name may hold a line break
    click.echo("\n" + errors.table(("column", "as", "allowed", "why"), cells) + "\n")
    errors.done(f"{plan.task}: {plan.why_task}")
    errors.done(f"{plan.estimator}: {plan.why_model}")
    held = f"the newest by {plan.time}" if plan.time else "drawn at random (--time COLUMN takes the newest)"
    errors.done(f"hold-out: {held}")
    errors.done(f"{plan.rows:,} rows; wrote {', '.join(write.FILES)}")
    click.echo("\n  Look at schema.py, then: make retrain")
