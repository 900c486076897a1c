"""What goes wrong in a simulated month: in the inputs, in the world, or in a release."""

from dataclasses import dataclass

import numpy as np

from lifecycle.columns import MISSING, Arrays, Column, Schema

NUMBERS = ("number",)  # a shift leaves whole numbers alone: half a dish is no dish
CONCEPT = 1.35  # times the target; of classes this share less one is another
BROKEN_SHARE = 0.5  # of the rows: one of two clients sends another unit
UNIT = 1000.0
LATE = 60.0  # days: in the months of shifts no label comes, so that nothing but the inputs tells


@dataclass(frozen=True)
class Fault:
    """kind: "", "shift", "broken", "concept" or "release". delay: of the labels, in days."""

    name: str
    kind: str = ""
    sigma: float = 0.0
    features: int = 0
    delay: float = 1.0


STORY = (
    Fault("nothing"),
    Fault("shift of 0.1 sigma in 3 features", "shift", 0.1, 3, delay=LATE),
    Fault("shift of 0.5 sigma in 1 feature", "shift", 0.5, 1, delay=LATE),
    Fault("shift of 1 sigma in 3 features", "shift", 1.0, 3, delay=LATE),
    Fault("a column in another unit", "broken"),
    Fault("concept drift, labels after 1 day", "concept"),
    Fault("concept drift, labels after 14 days", "concept", delay=14),
    Fault("a worse release, labels after 1 day", "release"),
)


def numeric(schema: Schema) -> list[Column]:
    """Return the columns that can be shifted, those with a range first: only they can break it."""
    found = [column for column in schema.columns if column.kind in NUMBERS]
    return sorted(found, key=lambda column: column.maximum is None)


def apply(
    fault: Fault, rows: Arrays, schema: Schema, deviations: dict[str, float], dice: np.random.Generator
) -> Arrays:
    """Return the rows as they arrive under the fault."""
    rows = dict(rows)
    columns = numeric(schema)
    if fault.kind == "shift":
        for column in columns[: fault.features]:
            moved = rows[column.name] + fault.sigma * deviations[column.name]
            low = -np.inf if column.minimum is None else column.minimum
            high = np.inf if column.maximum is None else column.maximum
            rows[column.name] = np.clip(moved, low, high)
    elif fault.kind == "broken" and columns:
        name = columns[0].name
        hit = dice.random(len(rows[name])) < BROKEN_SHARE
        rows[name] = np.where(hit, rows[name] * UNIT, rows[name])
    return rows


def lame(rows: Arrays, schema: Schema) -> Arrays:
    """Return the rows as a release with a bug reads them: its first numeric column is always the same."""
    columns = numeric(schema)
    return rows | {
        column.name: np.full_like(rows[column.name], np.nanmedian(rows[column.name]))
        for column in columns[:1]
    }


def valid(rows: Arrays, schema: Schema) -> np.ndarray:
    """Say for each row whether the server takes it: within the ranges and values of schema.py."""
    fine = np.ones(len(next(iter(rows.values()))), dtype=bool)
    for column in schema.columns:
        values = rows[column.name]
        if values.dtype.kind == "f":
            missing = np.isnan(values)
            low = -np.inf if column.minimum is None else column.minimum
            high = np.inf if column.maximum is None else column.maximum
            fine &= (missing & column.nullable) | ((values >= low) & (values <= high))
        elif values.dtype.kind == "O" and not column.nullable:
            fine &= values != MISSING
    return fine


def truth(fault: Fault, labels: np.ndarray, classes: int, dice: np.random.Generator) -> np.ndarray:
    """Return what will turn out to be true: under concept drift the same inputs end otherwise."""
    if fault.kind != "concept":
        return labels
    if not classes:
        return labels * CONCEPT
    other = dice.random(len(labels)) < CONCEPT - 1
    return np.where(other, (labels + 1) % classes, labels)
