"""The parts of a simulated month: what a fault does to rows and labels, and the window of counts."""

import numpy as np
import pandas as pd
import pytest
from lifecycle import settings
from lifecycle.project import Project
from lifecycle.simulate import faults, loop
from lifecycle.simulate.faults import STORY, Fault


@pytest.fixture
def scene(project: Project, predictor) -> loop.World:
    return loop.World(predictor, project.valid, settings.load(project), per_hour=40)


def accepted(scene: loop.World, rows: dict[str, np.ndarray]) -> np.ndarray:
    return np.logical_and.reduce([c.accepts(rows[c.name]) for c in scene.predictor.schema.columns])


@pytest.mark.parametrize("fault", STORY, ids=lambda fault: fault.name)
def test_a_fault_changes_what_it_says(scene: loop.World, fault: Fault) -> None:
    schema, random = scene.predictor.schema, np.random.default_rng(0)
    rows = faults.apply(fault, scene.rows, schema, scene.deviations, random)
    changed = [name for name in rows if pd.Series(rows[name]).ne(pd.Series(scene.rows[name])).mean() > 0.4]
    assert len(changed) == {"shift": fault.features, "broken": 1}.get(fault.kind, 0)
    share = accepted(scene, rows).mean()
    assert share == 1 if fault.kind != "broken" else 0.45 < share < 0.55, "a shift stays within the schema"
    labels = faults.truth(fault, scene.labels, 0, random)
    assert (labels != scene.labels).all() == (fault.kind == "concept")


def test_concept_drift_gives_another_class_to_a_share_of_the_rows() -> None:
    labels = np.tile([0, 1, 2], 1000)
    fault = Fault("concept drift", "concept")
    assert 0.3 < (faults.truth(fault, labels, 3, np.random.default_rng(0)) != labels).mean() < 0.4


def test_a_window_holds_exactly_its_last_steps(scene: loop.World) -> None:
    window, random, drawn = loop.Window(scene.reference, steps=3), np.random.default_rng(0), []
    name = faults.numeric(scene.predictor.schema)[0].name
    for step in range(7):
        rows, _ = scene.draw(random, hours=1)
        rows = rows | {name: np.where(random.random(len(rows[name])) < 0.3, 1e6 * step, rows[name])}
        drawn.append((rows, scene.predictor.predict_arrays(rows)))
        window.add(*drawn[-1], rejected=step)
    expected = scene.reference.empty()
    for rows, predicted in drawn[-3:]:
        expected.add(rows, predicted)
    assert window.total.counts_only() == expected.counts_only()
    assert window.total.features[name]["outside"] > 0
    assert window.rejected == 4 + 5 + 6


def test_a_step_without_accepted_rows_is_counted_as_rejected(scene: loop.World) -> None:
    window = loop.Window(scene.reference, steps=3)
    window.add({name: values[:0] for name, values in scene.rows.items()}, np.empty(0), rejected=9)
    assert (window.total.rows, window.rejected) == (0, 9)
