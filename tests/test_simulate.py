"""A project as it is rendered, with its example data and default settings, reacts to each kind of fault.

The months one by one are tested in tests/lifecycle/test_simulate_*.py, without rendering.
"""

import re

import pytest
from conftest import Project

pytestmark = pytest.mark.slow
REACTIONS = (  # of each month: what is found first, and the reaction
    r"1  no fault +nothing +0 +0",
    r"3  shift of 0\.5 sigma in 1 feature +drift +retrain +\d+ h",
    r"4  shift of 1 sigma in 3 features +drift +retrain +\d+ h",
    r"5  a column in another unit +broken data +alert +\d+ h +0 ",
    r"6  concept drift, labels after 1 day +no drift, performance worse +retrain +\d+ h",
    r"7  concept drift, labels after 14 days +no drift, performance worse +retrain +\d+ h",
    r"8  a worse release, labels after 1 day +no drift, performance worse +roll back +\d+ h +0 +2\n",
)


def test_each_fault_gets_its_reaction(trained_copy: Project) -> None:
    text = trained_copy.lifecycle("simulate", "--every", "180").stdout
    for reaction in REACTIONS:
        assert re.search(reaction, text), f"{reaction}\n{text}"
    assert "The picture is artifacts/simulation.svg" in text, "the path is short"
    assert (trained_copy.path / "artifacts/simulation.svg").is_file()
