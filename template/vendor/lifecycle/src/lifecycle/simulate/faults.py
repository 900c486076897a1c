"""The faults of the simulated months: in the inputs, in the meaning of the labels, or in a release."""

from dataclasses import dataclass

import numpy as np

from ..data.arrays import Arrays
from ..data.schema import Column, Schema

CONCEPT = 1.35  # factor on a numeric target under concept drift; of class labels, this share above 1 changes
BROKEN_SHARE = 0.5  # share of the rows with the wrong unit: one of two clients sends it
UNIT = 1000.0  # factor between the two units
LATE = 60.0  # days: in the months of shifts no label arrives in time, so that only the inputs show the fault


@dataclass(frozen=True)
class Fault:
    """What goes wrong in a month."""

    name: str
    kind: str = ""  # or "shift", "broken", "concept", "release"
    sigma: float = 0.0  # size of a shift, in standard deviations
    features: int = 0  # how many shift
    delay: float = 1.0  # of labels, in days


STORY = (
    Fault("no fault"),
    Fault("shift of 0.1 sigma in 3 features", "shift", 0.1, 3, delay=LATE),
    Fault("shift of 0.5 sigma in 1 feature", "shift", 0.5, 1, delay=LATE),
    Fault("shift of 1 sigma in 3 features", "shift", 1.0, 3, delay=LATE),
    Fault("a column in another unit", "broken"),
    Fault("concept drift, labels after 1 day", "concept"),
    Fault("concept drift, labels after 14 days", "concept", delay=14),
    Fault("a worse release, labels after 1 day", "release"),
)


def numeric(schema: Schema) -> list[Column]:
    """Return the columns that faults change, those with a range first; integers cannot shift a little."""
    found = [column for column in schema.columns if column.kind == "number"]
    return sorted(found, key=lambda column: column.maximum is None)


def apply(
    fault: Fault, rows: Arrays, schema: Schema, deviations: dict[str, float], random: np.random.Generator
) -> Arrays:
    """Return the rows as they arrive under a fault. deviations: each numeric column's standard deviation."""
    rows, columns = dict(rows), numeric(schema)
    if fault.kind == "shift":
        for column in columns[: fault.features]:
            moved = rows[column.name] + fault.sigma * deviations[column.name]
            low = -np.inf if column.minimum is None else column.minimum
            high = np.inf if column.maximum is None else column.maximum
            rows[column.name] = np.clip(moved, low, high)
    elif fault.kind == "broken" and columns:
        name = columns[0].name
        hit = random.random(len(rows[name])) < BROKEN_SHARE
        rows[name] = np.where(hit, rows[name] * UNIT, rows[name])
    return rows


def as_read_by_faulty_release(rows: Arrays, schema: Schema) -> Arrays:
    """Return the rows as a release with a bug reads them: its first numeric column is a constant."""
    names = [column.name for column in numeric(schema)[:1]]
    return rows | {name: np.full_like(rows[name], np.nanmedian(rows[name])) for name in names}


def truth(fault: Fault, labels: np.ndarray, classes: int, random: np.random.Generator) -> np.ndarray:
    """Return the labels under a fault: concept drift gives other labels to the same inputs."""
    if fault.kind != "concept":
        return labels
    if not classes:
        return labels * CONCEPT
    changed = random.random(len(labels)) < CONCEPT - 1
    return np.where(changed, (labels + 1) % classes, labels)
