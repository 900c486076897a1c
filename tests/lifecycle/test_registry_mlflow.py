"""What is MLflow's own: its aliases, and its absolute addresses when a project is moved or copied."""

import shutil
import sqlite3
import sys
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

sys.path.append(str(Path(__file__).parents[1]))
from lifecycle.errors import RegistryError
from lifecycle.model.package import verify
from registry import support
from registry.support import SQLITE, Place, make_candidate, make_place, promote, rollback

versions, empty_database = support.versions, support.empty_database
own_environment = support.own_environment


@pytest.fixture
def place(empty_database: Path, tmp_path: Path) -> Place:
    return make_place(SQLITE, tmp_path / "project", empty_database)


def shown(registry: Any, alias: str) -> str:
    """What MLflow's own pages say that an alias points at."""
    return registry._client.get_model_version_by_alias(registry._name, alias).tags["lifecycle.version"]


def test_an_alias_that_was_moved_by_hand_is_set_right(place: Place, versions: list[str]) -> None:
    registry = place.open()
    promote(registry, versions[0])
    assert shown(registry, "production") == versions[0]
    registry._client.set_registered_model_alias(registry._name, "production", "3")
    assert place.open().aliases() == {"production": versions[0]}
    registry.promote(versions[1], "staging", "Ada", "any move")
    assert shown(registry, "production") == versions[0]


def elsewhere(place: Place, folder: Path, copy: bool = False) -> Place:
    """Move or copy a project."""
    (shutil.copytree if copy else shutil.move)(place.project.root, folder)
    return replace(place, project=replace(place.project, root=folder))


def tree(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_copy_writes_only_into_itself(place: Place, versions: list[str], tmp_path: Path) -> None:
    promote(place.open(), versions[0])
    copy = elsewhere(place, tmp_path / "copy", copy=True)
    before = tree(place.project.root)
    registry = copy.open()
    new = registry.publish(make_candidate(tmp_path / "new", 9))
    newer = registry.publish(make_candidate(tmp_path / "newer", 10))
    promote(registry, new)
    assert registry.prune(keep=1) == [versions[1], versions[2]]
    assert tree(place.project.root) == before
    original = place.project.root.rename(tmp_path / "hidden")
    for name in (new, newer, versions[0]):
        assert verify(registry.fetch(name, tmp_path / "model")).version == name
    assert rollback(registry).version == versions[0]
    original.rename(place.project.root)
    for name in versions:
        assert verify(place.open().fetch(name, tmp_path / "model")).version == name


def test_a_project_may_be_moved_more_than_once(place: Place, versions: list[str], tmp_path: Path) -> None:
    first = elsewhere(place, tmp_path / "first")
    published = [*versions, first.open().publish(make_candidate(tmp_path / "new", 9))]
    second = elsewhere(first, tmp_path / "second" / "deeper")
    published.append(second.open().publish(make_candidate(tmp_path / "newer", 10)))
    third = elsewhere(second, tmp_path / "third")
    published.append(third.open().publish(make_candidate(tmp_path / "newest", 11)))
    for name in published:
        assert verify(third.open().fetch(name, tmp_path / "model")).version == name
    assert len(list(third.project.root.rglob("manifest.json"))) == len(published)
    assert sorted(third.open().prune(keep=1)) == published[:-1]
    assert len(list(third.project.root.rglob("manifest.json"))) == 1


def test_a_path_through_another_folder_is_the_same_project(
    place: Place, versions: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (place.project.root / "src").mkdir()
    monkeypatch.chdir(place.project.root / "src")
    registry = replace(place, project=replace(place.project, root=Path(".."))).open()
    registry.publish(make_candidate(tmp_path / "new", 9))
    with closing(sqlite3.connect(place.project.root / "mlflow.db")) as tables:
        named = tables.execute("SELECT count(*) FROM experiments WHERE name LIKE 'churn%'").fetchone()
    assert named == (1,)


def test_a_relative_address_is_relative_to_the_project(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    other = replace(place, env={"MLFLOW_TRACKING_URI": "sqlite:///mlflow.db"})
    version = other.open().publish(make_candidate(tmp_path / "c"))
    assert [item.version for item in place.open().versions()] == [version]
    assert not (tmp_path / "mlflow.db").exists()


def test_a_database_that_cannot_be_written_is_named(place: Place, tmp_path: Path) -> None:
    (place.project.root / "mlflow.db").write_bytes(b"not a database, and long enough to be read as one" * 99)
    with pytest.raises(RegistryError, match="MLflow at sqlite:///") as raised:
        place.open()
    assert "disk" in raised.value.next_step
