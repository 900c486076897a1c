"""The contract: what every registry promises, run on each implementation."""

import filecmp
from pathlib import Path

import pytest
from lifecycle.errors import Conflict, DigestMismatch, RegistryError
from lifecycle.model.package import FILES, MANIFEST, verify
from lifecycle.registry.base import PRODUCTION, STAGING, Version, production_model, take_back

from registry.support import Place, count_calls, make_candidate, promote, rollback


def test_a_version_comes_back_as_it_was_published(place: Place, tmp_path: Path) -> None:
    folder = make_candidate(tmp_path / "c")
    version = place.open().publish(folder)
    fetched = place.open().fetch(version, tmp_path / "there" / "model")
    assert version == verify(folder).version == verify(fetched).version
    assert sorted(path.name for path in fetched.iterdir()) == sorted((*FILES, MANIFEST))
    assert filecmp.cmpfiles(folder, fetched, (*FILES, MANIFEST), shallow=False)[0] == [*FILES, MANIFEST]
    assert place.open().manifest(version).data_hash == "da7a"


def test_publishing_twice_changes_nothing(place: Place, tmp_path: Path) -> None:
    folder = make_candidate(tmp_path / "c")
    first, second = place.open().publish(folder), place.open().publish(folder)
    assert first == second
    assert place.open().versions() == [Version(first)]


def test_what_has_not_passed_the_gate_is_refused(place: Place, tmp_path: Path) -> None:
    folder = make_candidate(tmp_path / "c")
    (folder / MANIFEST).unlink()
    with pytest.raises(DigestMismatch, match="not passed evaluate"):
        place.open().publish(folder)
    assert place.open().versions() == []


def test_an_empty_registry_says_so(place: Place, tmp_path: Path) -> None:
    registry = place.open()
    assert (registry.versions(), registry.aliases(), registry.history()) == ([], {}, [])
    for name in ("production", "20260101T000000Z-00000000", "../secret", "it's"):
        with pytest.raises(RegistryError, match="no version or alias"):
            registry.fetch(name, tmp_path / "x")
    with pytest.raises(RegistryError, match="no version or alias nothing"):
        registry.promote("nothing", PRODUCTION, "Ada", "")
    assert not (tmp_path / "x").exists()


def test_aliases_name_versions(place: Place, versions: list[str], tmp_path: Path) -> None:
    registry = place.open()
    registry.promote(versions[0], PRODUCTION, "Ada", "")
    registry.promote(versions[2], STAGING, "Ada", "")
    assert registry.aliases() == {PRODUCTION: versions[0], STAGING: versions[2]}
    assert registry.versions() == [
        Version(versions[2], (STAGING,)),
        Version(versions[1]),
        Version(versions[0], (PRODUCTION,)),
    ]
    assert registry.resolve(STAGING) == versions[2]
    assert verify(registry.fetch(PRODUCTION, tmp_path / "m")).version == versions[0]
    assert registry.promote(STAGING, PRODUCTION, "Ada", "").version == versions[2]


def test_history_tells_who_when_and_why(place: Place, versions: list[str]) -> None:
    registry = place.open()
    registry.promote(versions[0], PRODUCTION, "Ada", "first release")
    registry.promote(versions[1], STAGING, "Grace", 'quotes " and \u00fcml\u00e4uts')
    done = registry.promote(versions[1], PRODUCTION, "Grace", "better on hold-out")
    moves = place.open().history()
    assert moves[-1] == done
    assert [(m.action, m.alias, m.version, m.previous, m.by) for m in moves] == [
        ("promote", PRODUCTION, versions[0], "", "Ada"),
        ("promote", STAGING, versions[1], "", "Grace"),
        ("promote", PRODUCTION, versions[1], versions[0], "Grace"),
    ]
    assert moves[1].reason == 'quotes " and \u00fcml\u00e4uts'
    assert moves[0].at <= moves[1].at <= moves[2].at
    assert registry.history(newest=2) == moves[1:]


def test_promoting_what_is_there_is_no_move(place: Place, versions: list[str]) -> None:
    first = promote(place.open(), versions[0])
    assert promote(place.open(), versions[0], "Grace") == first
    assert len(place.open().history()) == 1


def test_rollbacks_go_back_one_promotion_each_and_never_forth(place: Place, versions: list[str]) -> None:
    registry = place.open()
    for version in versions:
        promote(registry, version)
    assert [rollback(place.open()).version for _ in range(2)] == [versions[1], versions[0]]
    with pytest.raises(RegistryError, match="no version before production"):
        rollback(place.open())
    promote(registry, versions[2])
    assert rollback(registry).version == versions[0]
    assert [move.action for move in registry.history()] == ["promote"] * 3 + ["rollback"] * 2 + [
        "promote",
        "rollback",
    ]


def test_rollback_with_nothing_before(place: Place, versions: list[str]) -> None:
    with pytest.raises(RegistryError, match="no version before production"):
        rollback(place.open())
    promote(place.open(), versions[0])
    with pytest.raises(RegistryError, match="no version before production"):
        rollback(place.open())
    assert place.open().aliases() == {PRODUCTION: versions[0]}


def test_the_order_is_that_of_publishing_whatever_the_clock_said(place: Place, tmp_path: Path) -> None:
    """A version that a host stamped 30 days back is as new as any, and is not what prune removes first."""
    registry = place.open()
    names = [registry.publish(make_candidate(tmp_path / f"c{n}", n)) for n in (40, 10, 41)]
    assert [item.version for item in place.open().versions()] == names[::-1]
    assert registry.publish(tmp_path / "c40") == names[0], "again changes nothing"
    assert registry.prune(keep=2) == names[:1]
    assert [item.version for item in registry.versions()] == names[:0:-1]


def test_prune_keeps_the_newest_and_what_is_in_use(place: Place, tmp_path: Path) -> None:
    registry = place.open()
    names = [registry.publish(make_candidate(tmp_path / f"c{n}", n)) for n in range(7)]
    for version in names[:3]:
        promote(registry, version)
    assert sorted(registry.prune(keep=2)) == [names[0], names[3], names[4]]
    assert [item.version for item in place.open().versions()] == [names[n] for n in (6, 5, 2, 1)]
    with pytest.raises(RegistryError, match="no version or alias"):
        registry.fetch(names[0], tmp_path / "x")
    assert registry.prune(keep=2) == []
    assert verify(registry.fetch(PRODUCTION, tmp_path / "x")).version == names[2]
    assert rollback(registry).version == names[1]
    with pytest.raises(RegistryError, match="at least one"):
        registry.prune(keep=0)


def test_a_pruned_version_can_be_published_again(place: Place, versions: list[str], tmp_path: Path) -> None:
    registry = place.open()
    assert versions[0] in registry.prune(keep=1)
    assert registry.publish(tmp_path / "c0") == versions[0]
    assert verify(registry.fetch(versions[0], tmp_path / "x")).version == versions[0]


def test_promote_and_rollback_do_not_grow_with_versions_or_moves(place: Place, tmp_path: Path) -> None:
    registry = place.open()
    first, second = (registry.publish(make_candidate(tmp_path / f"c{n}", n)) for n in range(2))
    promote(registry, first)

    def back_and_forth(registry) -> None:
        promote(registry, second)
        rollback(registry)

    back_and_forth(registry)
    few = count_calls(place, back_and_forth)
    for number in range(2, 12):
        promote(registry, registry.publish(make_candidate(tmp_path / f"c{number}", number)))
    promote(registry, first)
    assert count_calls(place, back_and_forth) == few


def test_the_loser_of_a_race_is_told_who_won(place: Place, versions: list[str]) -> None:
    slow = place.open()
    promote(slow, versions[0])
    move = slow._move

    def late(*words):
        promote(place.open(), versions[1], "Grace")
        return move(*words)

    slow._move = late
    with pytest.raises(Conflict, match=f"Grace moved production to {versions[1]}"):
        promote(slow, versions[2])
    assert place.open().aliases() == {PRODUCTION: versions[1]}
    assert [item.by for item in place.open().history()] == ["Ada", "Grace"]


def test_what_serves_again_gets_the_alias_back(place: Place, versions: list[str]) -> None:
    """A rollback goes to the version that serves, whether or not production had it just before."""
    registry = place.open()
    for version in versions:
        promote(registry, version)
    assert take_back(registry, "", "Ada", "worse").version == versions[1]
    assert take_back(registry, versions[0], "Ada", "it serves").action == "rollback"
    assert take_back(registry, versions[2], "Ada", "it serves").action == "promote"
    assert registry.last(PRODUCTION)[0] == take_back(registry, versions[2], "Ada", "it has the alias already")


def test_the_model_of_production_is_fetched(place: Place, versions: list[str]) -> None:
    assert production_model(place.project) is None and not place.open().last(PRODUCTION)[0].number
    promote(place.open(), versions[1])
    folder = production_model(place.project)
    assert folder == place.project.artifacts / "live" and verify(folder).version == versions[1]
