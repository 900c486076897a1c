"""The loop's acceptance test: months of traffic with faults, and what a project does about each."""

import json
import re
import xml.etree.ElementTree as ET
from typing import Any

import pytest
from conftest import Project

pytestmark = pytest.mark.slow
# found at first, done, and the days from the fault within which it was: at 40 requests an hour
EXPECTED = {
    "shift of 0.5 sigma in 1 feature": ("drift", "retrain", 7),
    "shift of 1 sigma in 3 features": ("drift", "retrain", 3),
    "a column in another unit": ("broken data", "alert", 2),
    "concept drift, labels after 1 day": ("no drift, performance worse", "retrain", 4),
    "concept drift, labels after 14 days": ("no drift, performance worse", "retrain", 17),
    "a worse release, labels after 1 day": ("no drift, performance worse", "roll back", 3),
}


def simulate(project: Project, *words: str, **env: str) -> list[dict[str, Any]]:
    return json.loads(project.lifecycle("simulate", "--json", *words, **env).stdout)


def test_each_fault_gets_its_reaction(trained_copy: Project) -> None:
    months = simulate(trained_copy, "--every", "180")
    assert EXPECTED.keys() <= {month["fault"]["name"] for month in months} and len(months) == 8
    for month in months:
        name, reactions = month["fault"]["name"], [e for e in month["events"] if e["did"] != "nothing"]
        assert all(event["day"] >= 10 for event in reactions), f"{name}: nothing is done before the fault"
        if name in EXPECTED:
            found, did, days = EXPECTED[name]
            assert (reactions[0]["found"], reactions[0]["did"]) == (found, did), name
            assert reactions[0]["day"] - 10 <= days, name
        if name == "nothing":
            assert not reactions and not month["alerts"]
    broken = next(month for month in months if month["fault"]["kind"] == "broken")
    assert not broken["retrained"], "broken data is never learnt from"
    release = months[-1]
    assert [event["did"] for event in release["events"]].count("roll back") == release["alerts"] == 1
    assert release["events"][-1]["did"] == "nothing", "the version before serves well again"
    picture = (trained_copy.path / "artifacts/simulation.svg").read_text()
    assert len(ET.fromstring(picture).findall("{*}g")) == 8


def test_without_a_fault_there_is_hardly_an_alert_at_a_check_every_15_minutes(trained_copy: Project) -> None:
    (month,) = simulate(trained_copy, "--month", "1", "--every", "15")
    assert month["checks"] == 30 * 96
    assert month["alerts"] < 5 * 30 / 7, "under five a week"


def test_the_same_seed_gives_the_same_month(trained_copy: Project) -> None:
    words = ("--month", "5", "--every", "720")
    assert simulate(trained_copy, *words) == simulate(trained_copy, *words)
    assert simulate(trained_copy, *words) != simulate(trained_copy, *words, "--seed", "2")


def test_the_bars_are_the_projects_own(trained_copy: Project) -> None:
    words = ("--month", "8", "--every", "720")
    (month,) = simulate(trained_copy, *words, LIFECYCLE_POLICY__RELEASE_HOURS="0")
    assert {event["did"] for event in month["events"]} == {"nothing", "retrain"}


def test_what_is_printed_can_be_read(trained_copy: Project) -> None:
    said = trained_copy.lifecycle("simulate", "--month", "5", "--every", "720").stdout
    assert re.search(r"✓ month 5: a column in another unit +60 checks", said)
    assert re.search(r"day 1\d\.\d  broken data: alert: [\d,]+ of [\d,]+ rows broke the schema", said)
    assert re.search(r"5  a column in another unit  broken data  alert +\d+ h", said)


def test_without_a_version_in_production_it_says_what_to_type(make_project: Any) -> None:
    done = make_project().lifecycle("simulate", ok=False)
    assert done.returncode == 1 and "make promote" in done.stderr
