"""All that adopt decides, before a file is written. Pure but for running the load() that it would write."""

from collections import Counter
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Any

import pandas as pd

from lifecycle.columns import Column

from . import decide, infer, models, refuse, texts, times
from .infer import Reading
from .read import Source
from .refuse import Fault


@dataclass(frozen=True)
class Wish:
    """What the command line asks for."""

    target: str
    time: str | None = None
    task: decide.Task | None = None
    drop: tuple[str, ...] = ()
    keep: tuple[str, ...] = ()
    drop_unlabelled: bool = False


@dataclass
class Plan:
    """What was decided: columns holds the target too; dropped and why: reasons by column."""

    files: dict[str, str] = field(default_factory=dict)
    columns: list[Column] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)
    why: dict[str, str] = field(default_factory=dict)
    dropped: dict[str, str] = field(default_factory=dict)
    task: str = ""
    why_task: str = ""
    time: str | None = None
    estimator: str = ""
    why_model: str = ""
    rows: int = 0


def make(source: Source, at: str, wish: Wish) -> Plan:
    """Decide on everything. at: where the file will lie. Plan.faults says what stands in the way."""
    plan = Plan(faults=_name_faults(source, wish), rows=len(source.rows))
    if source.rows.empty or len(set(source.header)) < len(source.header):
        return plan  # nothing more can be said
    readings = _read(source, wish)
    bad = [name for name, reading in readings.items() if reading.fault]
    needed = (wish.target, wish.time)
    plan.faults += [
        Fault(f"{name}: {readings[name].fault}", () if name in needed else ("--drop", name)) for name in bad
    ]
    sound = {name: reading for name, reading in readings.items() if name not in bad}
    labelled = wish.target if wish.drop_unlabelled else ""
    code = texts.data(source, at, sound, [*wish.drop, *bad], labelled if labelled in sound else "")
    frame = run_load(code, str(source.path))
    useless = decide.useless(frame, set(sound) - {*needed, *wish.keep})
    plan.why = {name: reading.why for name, reading in sound.items()}
    plan.dropped = dict.fromkeys(wish.drop, "as you asked") | useless
    kinds = {name: reading.kind for name, reading in sound.items() if name not in useless}
    plan.files["data.py"] = texts.data(source, at, {n: sound[n] for n in kinds}, list(plan.dropped), labelled)
    amounts = {name for name in kinds if sound[name].as_text and kinds[name] in ("number", "integer")}
    _decide(plan, frame, kinds, wish, amounts)
    return plan


def _name_faults(source: Source, wish: Wish) -> list[Fault]:
    twice = [name for name, count in Counter(source.header).items() if count > 1]
    faults = [Fault(f"{name!r} names more than one column: rename them in the file") for name in twice]
    if len(source.rows) < refuse.MIN_ROWS:
        faults.append(Fault(f"{len(source.rows)} rows are too few: bring at least {refuse.MIN_ROWS}"))
    named = [("--target", wish.target), ("--time", wish.time)]
    named += [("--drop", name) for name in wish.drop] + [("--keep", name) for name in wish.keep]
    columns = list(source.rows.columns)
    for option, name in named:
        if name is not None and name not in columns:
            near = get_close_matches(name, columns, n=3, cutoff=0.5) or columns[:8]
            faults.append(Fault(f"{option} {name}: no such column; there is {', '.join(near)}"))
    faults += [Fault(f"{option} {name} is also in --drop") for option, name in named[:2] if name in wish.drop]
    if wish.target == wish.time:
        faults.append(Fault(f"{wish.target} cannot be both the target and the time"))
    return faults


def _read(source: Source, wish: Wish) -> dict[str, Reading]:
    kept = [str(name) for name in source.rows if name not in wish.drop]
    text = {name for name in kept if infer.is_text(source.rows[name])}
    comma = any(infer.decimal_comma(infer.distinct(source.rows[name].head(5000))[1]) for name in text)
    return {
        name: infer.read_text(source.rows[name], comma, name == wish.target, source.parquet)
        if name in text
        else infer.read_typed(source.rows[name])
        for name in kept
    }


def run_load(code: str, path: str) -> pd.DataFrame:
    """Run the data.py that would be written, on the file where it lies now: what it returns is described."""
    module: dict[str, Any] = {}
    exec(compile(code, "data.py", "exec"), module)
    module["SOURCE"] = path
    return module["load"]()


def _decide(plan: Plan, frame: pd.DataFrame, kinds: dict[str, Any], wish: Wish, amounts: set[str]) -> None:
    """amounts: numbers with separators, which no id has."""
    known = wish.target in kinds
    inputs = {name: kind for name, kind in kinds.items() if name != wish.target}
    plan.time = wish.time if wish.time in inputs else times.time_of(frame, inputs)
    if wish.time in inputs and inputs[wish.time] in ("category", "boolean"):
        plan.faults.append(
            Fault(f"--time {wish.time}: its values are not times, such as {frame[wish.time].iloc[0]}")
        )
    if wish.time in inputs and frame[wish.time].isna().any():
        plan.faults.append(
            Fault(f"--time {wish.time}: {int(frame[wish.time].isna().sum())} rows have no time")
        )
    if not inputs:
        plan.faults.append(Fault("no column is left to predict from"))
    if known:
        plan.task, plan.why_task = decide.task_of(frame[wish.target], kinds[wish.target])
        if wish.task and wish.task != plan.task:
            plan.task, plan.why_task = wish.task, "as you asked"
        plan.faults += refuse.target_faults(frame[wish.target], kinds[wish.target], plan.task)
    for name, kind in inputs.items():
        if name in wish.keep:
            continue
        fault = None if name in {plan.time, *amounts} else refuse.column_fault(frame[name], kind)
        if not fault and known and refuse.comparable(frame[wish.target], kinds[wish.target], plan.task):
            fault = refuse.copies_target(frame[name], kind, frame[wish.target], plan.task)
        plan.faults += [fault] if fault else []
    if not plan.faults:
        _render(plan, frame, kinds, wish)


def _render(plan: Plan, frame: pd.DataFrame, kinds: dict[str, Any], wish: Wish) -> None:
    plan.rows = len(frame)
    classes = wish.target if plan.task == "classification" else None
    plan.columns = [decide.column(frame[name], kind, name == classes) for name, kind in kinds.items()]
    plan.estimator, plan.why_model = models.estimator(plan.task, len(frame))
    clocks = {name: times.has_clock(frame[name]) for name, kind in kinds.items() if kind == "datetime"}
    rate = decide.null_rate(frame[list(kinds)])
    plan.files["schema.py"] = texts.schema(plan.task, wish.target, plan.time, plan.columns, rate)
    plan.files["features.py"] = texts.features(clocks, list(kinds))
    plan.files["model.py"] = models.model(plan.estimator, plan.why_model)
