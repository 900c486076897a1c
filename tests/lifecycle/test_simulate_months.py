"""The acceptance test of the whole loop: months of traffic with faults, and how the system reacts to each."""

import json
import re
import xml.etree.ElementTree as ET
from typing import Any

import pytest
from click.testing import CliRunner
from lifecycle.cli import app
from lifecycle.errors import LifecycleError
from lifecycle.project import VARIABLE, Project
from projects import make_project

# What is found first, the reaction, and within how many days of the fault: at 40 requests an hour.
EXPECTED = {
    "shift of 0.5 sigma in 1 feature": ("drift", "retrain", 7),
    "shift of 1 sigma in 3 features": ("drift", "retrain", 3),
    "a column in another unit": ("broken data", "alert", 2),
    "concept drift, labels after 1 day": ("no drift, performance worse", "retrain", 4),
    "concept drift, labels after 14 days": ("no drift, performance worse", "retrain", 17),
    "a worse release, labels after 1 day": ("no drift, performance worse", "roll back", 3),
}


def simulate(*words: str, **env: str) -> str:
    """Run the command in this process; return what it prints."""
    done = CliRunner().invoke(
        app, ["simulate", *words], env=env, standalone_mode=False, catch_exceptions=False
    )
    return done.output


def months(*words: str, **env: str) -> list[dict[str, Any]]:
    return json.loads(simulate("--json", *words, **env))


def test_each_fault_gets_its_reaction(project: Project) -> None:
    found = months("--every", "180")
    assert EXPECTED.keys() <= {month["fault"]["name"] for month in found} and len(found) == 8
    for month in found:
        name, reactions = month["fault"]["name"], [e for e in month["events"] if e["did"] != "nothing"]
        assert all(event["day"] >= 10 for event in reactions), (
            f"{name}: there is no reaction before the fault"
        )
        if name in EXPECTED:
            first, did, days = EXPECTED[name]
            assert (reactions[0]["found"], reactions[0]["did"]) == (first, did), name
            assert reactions[0]["day"] - 10 <= days, name
        if name == "no fault":
            assert not reactions and not month["alerts"]
    broken = next(month for month in found if month["fault"]["kind"] == "broken")
    assert not broken["retrained"], "the model never learns from broken data"
    release = found[-1]
    assert [event["did"] for event in release["events"]].count("roll back") == 1
    assert release["alerts"] == 2, "that it was rolled back, and that this was the end of it"
    assert all(month["alerts"] <= 6 for month in found), "a fault that stays for 20 days: under five a week"
    assert release["events"][-1]["did"] == "nothing", "the version before serves well again"
    picture = (project.artifacts / "simulation.svg").read_text()
    assert len(ET.fromstring(picture).findall("{*}g")) == 8


def test_without_a_fault_there_is_hardly_an_alert_at_a_check_every_15_minutes(project: Project) -> None:
    (month,) = months("--month", "1", "--every", "15")
    assert month["checks"] == 30 * 96
    assert month["alerts"] < 5 * 30 / 7, "under five a week"


def test_the_same_seed_gives_the_same_month(project: Project) -> None:
    words = ("--month", "5", "--every", "720")
    first = months(*words)
    assert months(*words) == first
    assert months(*words, "--seed", "2") != first


def test_the_thresholds_are_the_projects_own(project: Project) -> None:
    (month,) = months("--month", "8", "--every", "720", LIFECYCLE_POLICY__RELEASE_HOURS="0")
    assert {event["did"] for event in month["events"]} == {"nothing", "retrain"}


def test_a_classifier_is_simulated_too(classifier_project: Project) -> None:
    (month,) = months("--month", "6", "--every", "360")
    assert month["events"][-1]["did"] == "retrain", "other classes for the same inputs raise the log loss"
    assert all(event["day"] >= 10 for event in month["events"] if event["did"] != "nothing")


def test_what_is_printed_can_be_read(project: Project) -> None:
    text = simulate("--month", "5", "--every", "720", "--plot", str(project.root / "months.svg"))
    assert "✓ month 5: a column in another unit, 60 checks" in text
    assert re.search(r"day 1\d\.\d  broken data: alert: [\d,]+ of [\d,]+ rows broke the schema", text)
    assert re.search(r"5  a column in another unit  broken data  alert +\d+ h", text)
    assert "months.svg" in text and (project.root / "months.svg").is_file()


def test_without_a_version_in_production_it_says_what_to_type(
    tmp_path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = make_project(tmp_path / "project", "regression")
    monkeypatch.setenv(VARIABLE, str(project.root))
    with pytest.raises(LifecycleError) as error:
        simulate()
    assert error.value.exit_code == 1 and "make promote" in error.value.next_step


def test_without_checked_rows_it_says_what_to_type(project: Project) -> None:
    project.valid.unlink()
    with pytest.raises(LifecycleError, match=r"valid\.parquet is not here"):
        simulate()
