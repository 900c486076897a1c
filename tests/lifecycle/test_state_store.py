"""The state of the loop: where it is, and that of two writers one succeeds."""

import os
import signal
import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parents[1]))
from lifecycle import files
from lifecycle.automation.checks import recorded
from lifecycle.automation.retraining import Note
from lifecycle.errors import RegistryError
from lifecycle.project import Project
from lifecycle.registry import objects
from lifecycle.state.store import State, open_state
from registry import support

WRITERS, TURNS = 4, 10
own_environment = support.own_environment


@pytest.fixture
def own(tmp_path: Path) -> Project:
    return Project("churn", "churn", "mlflow", "docker", tmp_path)


def test_of_two_who_change_a_text_only_one_succeeds(own: Project) -> None:
    state = open_state(own)
    assert state.read("checks") == ("", "")
    assert state.swap("checks", "a", "") and not state.swap("checks", "b", "")
    text, tag = open_state(own).read("checks")
    assert text == "a"
    assert state.swap("checks", "c \u00fc", tag) and not state.swap("checks", "d", tag)
    assert open_state(own).read("checks")[0] == "c \u00fc" and state.read("other") == ("", "")


@pytest.mark.parametrize("text", ["{", "\\ud800", "7", '[{"no such": 1}]', "[1]", "\0", '{"asked": }'])
def test_a_damaged_text_is_named_with_what_to_do(own: Project, text: str) -> None:
    state = open_state(own)
    for name, read in (("retraining", Note.read), ("checks", recorded)):
        assert state.swap(name, text, state.read(name)[1])
        with pytest.raises(RegistryError, match=f"state/{name} is damaged") as error:
            read(state)
        assert error.value.next_step == "remove it: the loop then starts anew"


def add(project: Project) -> None:
    """Add one to a number, so many times, whoever else does."""
    state, done = open_state(project), 0
    while done < TURNS:
        text, tag = state.read("number")
        done += state.swap("number", f"{int(text or 0) + 1}", tag)


def test_no_change_is_lost_among_processes(own: Project) -> None:
    processes = [support.start(add, own) for _ in range(WRITERS)]
    for process in processes:
        process.join(120)
    assert [process.exitcode for process in processes] == [0] * WRITERS
    assert open_state(own).read("number")[0] == str(WRITERS * TURNS)


def die(project: Project, call: str) -> None:
    """Change a text, and be killed before a call of the operating system."""
    state = open_state(project)
    _, tag = state.read("checks")

    def killed(*_: object) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    if call == "replace":
        files.Path.replace = killed
    else:
        objects.os.fsync = killed
    state.swap("checks", "new", tag)


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_killed_while_it_writes_the_old_text_stays_and_nobody_waits(own: Project, call: str) -> None:
    state = open_state(own)
    state.swap("checks", "old", "")
    process = support.start(die, own, call)
    process.join(60)
    assert process.exitcode == -signal.SIGKILL
    text, tag = state.read("checks")
    assert text == "old" and state.swap("checks", "next", tag)


def test_where_the_state_is(own: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    def found(project: Project) -> list[str]:
        state = open_state(project)
        assert state.read("checks")[0] == ""
        assert state.swap("checks", "{}", "")
        return sorted(p.relative_to(own.root).as_posix() for p in own.root.rglob("checks"))

    assert found(own) == ["artifacts/state/checks"]
    on_objects = Project("churn", "churn", "s3", "docker", own.root)
    assert found(on_objects)[1:] == ["registry/state/checks"]
    monkeypatch.setenv("REGISTRY_URI", (own.root / "disk").as_uri())
    assert found(on_objects)[1:2] == ["disk/state/checks"]
    monkeypatch.setenv("STATE_URI", (own.root / "shared").as_uri())
    assert found(own)[-1] == "shared/state/checks" and open_state(on_objects).read("checks")[0] == "{}"


def test_on_lambda_the_state_is_beside_its_counts(own: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WINDOWS_BUCKET", "models")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-central-1")
    assert open_state(own)._store.place == "s3://models/churn"
    monkeypatch.setenv("WINDOWS_PREFIX", "frozen")
    assert open_state(own)._store.place == "s3://models/frozen"


def test_a_store_that_is_out_of_reach_says_so(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(RegistryError, match="file"):
        State(objects.Folder(tmp_path / "file")).swap("checks", "", "")
