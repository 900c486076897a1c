"""The rules of moves and of pruning, and the store in a folder."""

import itertools
import json
import sys
import time
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parents[1]))
from lifecycle.errors import Conflict, RegistryError, SettingsError
from lifecycle.model.package import verify
from lifecycle.project import Project
from lifecycle.registry import transitions
from lifecycle.registry.base import open_registry, whoami
from lifecycle.registry.objects import Folder, open_store
from lifecycle.registry.transitions import UNDO_DEPTH, Move, next_move
from registry import support
from registry.support import FOLDER, Place, Turns, make_candidate, make_place, promote

MOST = 60
versions, own_environment = support.versions, support.own_environment


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return make_place(FOLDER, tmp_path / "project")


def test_time_never_goes_back_within_an_alias() -> None:
    last = Move(number=3, version="a", at="2999-01-01T00:00:00.000+00:00")
    assert next_move("promote", "b", "production", last, "Ada", "").at == last.at


def test_only_so_many_rollbacks_are_remembered() -> None:
    move = Move()
    for number in range(30):
        move = next_move("promote", str(number), "production", move, "Ada", "")
    assert move.undo == tuple(str(number) for number in range(28, 28 - UNDO_DEPTH, -1))
    back = next_move("rollback", move.undo[0], "production", move, "Ada", "")
    assert (back.version, back.previous, back.undo) == ("28", "29", move.undo[1:])


def test_promotion_and_prune_in_turns(place: Place, tmp_path: Path) -> None:
    """Every way to run the two at once in which each is held up once: the alias never dangles.

    All stores decide by the same code, so the fastest one is enough.
    """
    outcomes = set()
    ways = itertools.product(("promote", "prune"), range(1, 14), range(1, 14))
    for number, (first, before, between) in enumerate(ways):
        version = place.open().publish(make_candidate(tmp_path / f"t{number}", number + 10))
        promote(
            place.open(), place.open().publish(make_candidate(tmp_path / f"newest{number}", number + 900))
        )
        other = "prune" if first == "promote" else "promote"
        turns = Turns([(first, before), (other, between), (first, MOST), (other, MOST)])
        returned = turns.run(
            {
                "promote": lambda registry, version=version: promote(registry, version).version,
                "prune": lambda registry: tuple(registry.prune(keep=1)),
            },
            {name: place.open() for name in ("promote", "prune")},
        )
        registry = place.open()
        live = registry.aliases()["production"]
        assert verify(registry.fetch("production", tmp_path / "x")).version == live, (first, before, between)
        outcomes.add((live == version, version in returned.get("prune", ())))
    assert outcomes >= {(True, False), (False, True)}, "each of them should have won sometimes"


def test_the_mark_of_a_promotion_that_died_counts_for_a_day(
    place: Place, versions: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    registry = place.open()
    registry.mark(versions[0], transitions.PROMOTING + "dead")
    assert registry.prune(keep=2) == []
    now = time.time() + transitions.MARK_SECONDS + 1
    monkeypatch.setattr(transitions.time, "time", lambda: now)
    assert registry.prune(keep=2) == [versions[0]]


def test_a_prune_that_died_is_finished_by_the_next_one(place: Place, versions: list[str]) -> None:
    registry = place.open()
    registry.mark(versions[2], transitions.PRUNING + "dead")
    with pytest.raises(Conflict, match="is being pruned"):
        promote(registry, versions[2])
    assert registry.prune(keep=3) == [versions[2]]


@pytest.mark.parametrize("version", ["", "\0", "../../elsewhere", "a/b", "v1\n"])
def test_an_alias_that_names_no_version_is_named(place: Place, versions: list[str], version: str) -> None:
    registry = place.open()
    promote(registry, versions[0])
    path = place.project.root / "registry/aliases/production.json"
    path.write_text(path.read_text().replace(versions[0], json.dumps(version)[1:-1]))
    with pytest.raises(RegistryError, match=r"aliases/production\.json is damaged"):
        place.open().resolve("production")


def test_a_damaged_alias_is_named(place: Place, versions: list[str]) -> None:
    promote(place.open(), versions[0])
    path = place.project.root / "registry/aliases/production.json"
    path.write_text("{")
    with pytest.raises(RegistryError, match=r"aliases/production\.json is damaged"):
        place.open().aliases()


def test_of_two_writers_only_the_first_succeeds(tmp_path: Path) -> None:
    store = Folder(tmp_path / "store")
    assert store.read("a/b") is None and store.list("a/") == []
    assert store.swap("a/b", b"1") and store.swap("a/b", b"1") and not store.swap("a/b", b"2")
    data, tag = store.read("a/b") or (b"", "")
    assert data == b"1" and store.swap("a/b", b"2", tag)
    assert not store.swap("a/b", b"3", tag) and not store.swap("a/b", b"2", tag)
    assert not store.swap("a/new", b"1", tag)
    (tmp_path / "store/a/.b.left-by-a-kill.partial").touch()
    assert store.list("a/") == ["a/b"]
    store.delete("a/b")
    store.delete("a/b")
    assert store.read("a/b") is None


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(RegistryError, match="file") as raised:
        Folder(tmp_path / "file").swap("a", b"")
    assert raised.value.next_step


@pytest.mark.parametrize("uri", ["models", "file://models", "s3://", "https://models"])
def test_an_address_of_no_store_is_refused(uri: str) -> None:
    with pytest.raises(SettingsError, match="REGISTRY_URI is"):
        open_store(uri)


def test_an_address_with_a_space_is_a_folder(tmp_path: Path) -> None:
    folder = tmp_path / "two words"
    assert open_store(folder.as_uri()).place == str(folder)


@pytest.mark.parametrize(("answer", "module"), [("mlflow", "mlflow"), ("s3", "boto3")])
def test_an_extra_that_is_missing_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answer: str, module: str
) -> None:
    for name in [name for name in sys.modules if name.startswith("lifecycle.registry.")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, module, None)
    monkeypatch.setenv("REGISTRY_URI", "s3://models/churn")
    with pytest.raises(SettingsError, match=f"{module}.* is not installed") as raised:
        open_registry(Project("churn", "churn", answer, "docker", tmp_path))
    assert f'"{answer}"' in raised.value.next_step


def test_who_answers_for_a_move(place: Place, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("LIFECYCLE_BY", "policy@host")
    assert whoami(place.project) == "policy@host"
    monkeypatch.delenv("LIFECYCLE_BY")
    monkeypatch.setenv("PATH", str(tmp_path))  # without git
    monkeypatch.setenv("LOGNAME", "ada")
    assert whoami(place.project) == "ada"
