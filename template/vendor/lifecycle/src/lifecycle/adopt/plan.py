"""Decides everything before anything is written. Pure, except that it runs the load() it has rendered."""

from collections import Counter
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Any

import pandas as pd

from ..data.schema import Column
from . import decide, infer, refuse, render
from .infer import Reading
from .read import Source
from .refuse import Fault


@dataclass(frozen=True)
class Options:
    """What the command line asks for; the columns by name."""

    target: str
    time: str | None = None
    task: decide.Task | None = None
    drop: tuple[str, ...] = ()
    keep: tuple[str, ...] = ()
    drop_unlabelled: bool = False

    def columns(self) -> list[tuple[str, str]]:
        """Return the options that name a column, each with that name."""
        named = [("--target", self.target), ("--time", self.time or "")]
        named += [("--drop", name) for name in self.drop] + [("--keep", name) for name in self.keep]
        return [(option, name) for option, name in named if name]


@dataclass
class Plan:
    """What was decided."""

    files: dict[str, str] = field(default_factory=dict)  # texts by name, incomplete if there are faults
    columns: list[Column] = field(default_factory=list)  # the target among them
    faults: list[Fault] = field(default_factory=list)  # what stands in the way
    why: dict[str, str] = field(default_factory=dict)  # by column
    dropped: dict[str, str] = field(default_factory=dict)  # why, by column
    task: str = ""
    why_task: str = ""
    time: str | None = None
    estimator: str = ""
    why_model: str = ""
    rows: int = 0


def make(source: Source, at: str, options: Options) -> Plan:
    """Return the plan for a file. at: where it will lie, relative to the project's root."""
    plan = Plan(faults=_name_faults(source, options), rows=len(source.rows))
    if source.rows.empty or len(set(source.header)) < len(source.header):
        return plan  # nothing more can be found out
    columns = {str(name): source.rows[name] for name in source.rows if name not in options.drop}
    comma = any(infer.decimal_comma(column) for column in columns.values())
    readings = {
        name: infer.read_column(column, comma, name == options.target, source.parquet)
        for name, column in columns.items()
    }
    needed = (options.target, options.time)
    bad = {name: reading.fault for name, reading in readings.items() if reading.fault}
    for name, fault in bad.items():
        plan.faults.append(Fault(f"{name}: {fault}", () if name in needed else ("--drop", name)))
    sound = {name: reading for name, reading in readings.items() if name not in bad}
    labelled = options.target if options.drop_unlabelled and options.target in sound else ""
    code = render.data(source, at, sound, [*options.drop, *bad], labelled)
    frame = run_load(code, str(source.path))
    useless = decide.useless(frame, set(sound) - {*needed, *options.keep})
    plan.why = {name: reading.why for name, reading in sound.items()}
    plan.dropped = dict.fromkeys(options.drop, "as you asked") | useless
    used = {name: reading for name, reading in sound.items() if name not in useless}
    plan.files["data.py"] = render.data(source, at, used, list(plan.dropped), labelled)
    _find_faults(plan, frame, used, options)
    if plan.faults:
        return plan
    plan.rows, kinds = len(frame), {name: reading.kind for name, reading in used.items()}
    classes = options.target if plan.task == "classification" else None
    plan.columns = [decide.column(frame[name], kind, name == classes) for name, kind in kinds.items()]
    plan.estimator, plan.why_model = decide.estimator_for(plan.task, len(frame))
    clocks = {name: decide.has_clock(frame[name]) for name, kind in kinds.items() if kind == "datetime"}
    rate = decide.null_rate(frame[list(kinds)])
    plan.files["schema.py"] = render.schema(plan.task, options.target, plan.time, plan.columns, rate)
    plan.files["features.py"] = render.features(clocks, list(kinds))
    plan.files["model.py"] = render.model(plan.estimator, plan.why_model)
    return plan


def _name_faults(source: Source, options: Options) -> list[Fault]:
    twice = [name for name, count in Counter(source.header).items() if count > 1]
    faults = [Fault(f"{name!r} names more than one column: rename them in the file") for name in twice]
    if len(source.rows) < refuse.MIN_ROWS:
        faults.append(Fault(f"{len(source.rows)} rows are too few: at least {refuse.MIN_ROWS} are needed"))
    columns = list(source.rows.columns)
    for option, name in options.columns():
        if name not in columns:
            near = get_close_matches(name, columns, n=3, cutoff=0.5) or columns[:8]
            faults.append(Fault(f"{option} {name}: no such column; there is {', '.join(near)}"))
        if option in ("--target", "--time") and name in options.drop:
            faults.append(Fault(f"{option} {name} is also in --drop"))
    if options.target == options.time:
        faults.append(Fault(f"{options.target} cannot be both the target and the time"))
    return faults


def run_load(code: str, path: str) -> pd.DataFrame:
    """Run the load() of a rendered data.py on the file where it lies now, and return its rows."""
    module: dict[str, Any] = {}
    exec(compile(code, "data.py", "exec"), module)
    module["SOURCE"] = path
    return module["load"]()


def _find_faults(plan: Plan, frame: pd.DataFrame, used: dict[str, Reading], options: Options) -> None:
    """Decide on the task and the time, and add the faults of the target and the inputs to the plan."""
    inputs = {name: reading.kind for name, reading in used.items() if name != options.target}
    plan.time = options.time if options.time in inputs else decide.time_of(frame, inputs)
    if options.time in inputs:
        times = frame[options.time]
        if inputs[options.time] in ("category", "boolean"):
            what = f"its values are not times, such as {times.iloc[0]}"
            plan.faults.append(Fault(f"--time {options.time}: {what}"))
        elif missing := int(times.isna().sum()):
            plan.faults.append(Fault(f"--time {options.time}: {missing:,} rows have no time"))
    if not inputs:
        plan.faults.append(Fault("no column is left to predict from"))
    target = frame[options.target] if options.target in used else None
    if target is not None:
        kind = used[options.target].kind
        plan.task, plan.why_task = decide.task_of(target, kind)
        if options.task and options.task != plan.task:
            plan.task, plan.why_task = options.task, "as you asked"
        plan.faults += refuse.target_faults(target, kind, plan.task)
    for name, kind in inputs.items():
        if name in options.keep:
            continue
        # A number that is written with separators is no id.
        amount = used[name].as_text and kind in ("number", "integer")
        fault = None if amount or name == plan.time else refuse.column_fault(frame[name], kind)
        if not fault and target is not None:
            fault = refuse.copies_target(frame[name], kind, target, plan.task)
        plan.faults += [fault] if fault else []
