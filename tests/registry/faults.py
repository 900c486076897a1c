"""What goes wrong in earnest: kills at every step, races, damaged and missing files, a prune in the way."""

from pathlib import Path
from typing import Any

import pytest
from lifecycle.errors import Conflict, DigestMismatch, RegistryError
from lifecycle.model.package import FILES, MANIFEST, verify

from registry.support import (
    Place,
    hook,
    make_candidate,
    promote,
    publish,
    rollback,
    run_and_kill,
    run_together,
)

MOST = 60  # calls to the store of any one act


def flip(data: bytes) -> bytes:
    middle = len(data) // 2
    return data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :]


def test_a_flipped_byte_is_refused_by_name(place: Place, versions: list[str], tmp_path: Path) -> None:
    registry = place.open()
    registry.fetch(versions[0], tmp_path / "model")
    for name in (*FILES, MANIFEST):
        place.change(versions[0], name, flip)
        with pytest.raises(DigestMismatch, match=name.replace(".", r"\.")):
            registry.fetch(versions[0], tmp_path / "model")
        place.change(versions[0], name, flip)
        assert verify(tmp_path / "model").version == versions[0], "the folder was not left as it was"
    place.change(versions[0], MANIFEST, flip)
    with pytest.raises(RegistryError, match=MANIFEST):
        promote(registry, versions[0])


def test_a_missing_object_is_named(place: Place, versions: list[str], tmp_path: Path) -> None:
    registry = place.open()
    for version, name in zip(versions, FILES, strict=True):
        place.change(version, name, lambda data: None)
        with pytest.raises(RegistryError, match=name):
            registry.fetch(version, tmp_path / "model")
        assert not (tmp_path / "model").exists()


def test_killed_at_every_step_of_publish(place: Place, tmp_path: Path) -> None:
    place.open().publish(make_candidate(tmp_path / "first"))
    for call in range(1, MOST, place.stride):
        folder = make_candidate(tmp_path / f"c{call}", call)
        killed = run_and_kill(place, publish, (folder,), call)
        registry = place.open()
        for item in registry.versions():
            assert verify(registry.fetch(item.version, tmp_path / "x")).version == item.version
        if not killed:
            assert call > 4
            return
        version = registry.publish(folder)
        assert verify(registry.fetch(version, tmp_path / "x")).version == version
    raise AssertionError("publish never came to its end")


@pytest.mark.parametrize("act", [promote, rollback])
def test_killed_at_every_step_of_a_move(place: Place, versions: list[str], tmp_path: Path, act: Any) -> None:
    registry = place.open()
    promote(registry, versions[0])
    promote(registry, versions[1])
    for call in range(1, MOST, place.stride):
        now, other = registry.aliases()["production"], versions[0]
        words: tuple = ()
        if act is promote:
            other = versions[2] if now != versions[2] else versions[1]
            words = (other,)
        elif now == versions[0]:
            promote(registry, versions[1])
            now = versions[1]
        killed = run_and_kill(place, act, words, call)
        registry = place.open()
        live = registry.aliases()["production"]
        assert live in (now, other)
        assert verify(registry.fetch("production", tmp_path / "x")).version == live
        check_chain(registry)
        if live == now:
            assert act(registry, *words).version == other
        elif act is promote:
            promote(registry, other)
        check_chain(registry)
        assert registry.history()[-1].version == other
        check_mlflow_page(place, registry, other)
        if not killed:
            assert call > 4
            return
    raise AssertionError("the move never came to its end")


def check_chain(registry: Any) -> None:
    """No move is missing from the history: each one begins where the last one ended."""
    moves = [move for move in registry.history() if move.alias == "production"]
    before = ["", *(move.version for move in moves[:-1])]
    assert [move.previous for move in moves] == before
    assert moves[-1].version == registry.aliases()["production"]


def check_mlflow_page(place: Place, registry: Any, version: str) -> None:
    """MLflow's own alias follows the history, after a kill too, as soon as somebody promotes again."""
    if place.is_mlflow and registry.history()[-1].action == "promote":
        stored = registry._client.get_model_version_by_alias(registry._name, "production")
        assert stored.tags["lifecycle.version"] == version


def test_eight_publishers_at_once(place: Place, tmp_path: Path) -> None:
    same = make_candidate(tmp_path / "same")
    others = [make_candidate(tmp_path / f"c{number}", number) for number in range(1, 5)]
    results = run_together(place, publish, [(same,)] * 4 + [(folder,) for folder in others])
    expected = {verify(folder).version for folder in (same, *others)}
    assert sorted(results, key=str) == sorted([verify(same).version] * 3 + list(expected)), results
    registry = place.open()
    assert {item.version for item in registry.versions()} == expected
    for version in expected:
        assert verify(registry.fetch(version, tmp_path / "x")).version == version


def test_of_eight_promoters_at_once_one_wins(place: Place, tmp_path: Path) -> None:
    registry = place.open()
    names = [registry.publish(make_candidate(tmp_path / f"c{number}", number)) for number in range(9)]
    promote(registry, names[8])
    results = run_together(place, promote, [(names[n], f"person {n}") for n in range(8)])
    won = [item for item in results if not isinstance(item, Exception)]
    lost = [item for item in results if isinstance(item, Exception)]
    assert len(won) == 1, results
    assert all(isinstance(item, Conflict) and won[0].by in str(item) for item in lost), results
    assert place.open().aliases() == {"production": won[0].version}
    assert [move.version for move in place.open().history()] == [names[8], won[0].version]
    assert rollback(place.open()).version == names[8]


def test_prune_at_any_moment_of_a_promotion(place: Place, versions: list[str], tmp_path: Path) -> None:
    """At each call that promote makes, somebody else's whole prune runs: the alias never dangles."""
    check_interleaved(
        place,
        tmp_path,
        lambda registry, version: promote(registry, version),
        lambda registry, version: registry.prune(keep=1),
    )


def test_promotion_at_any_moment_of_a_prune(place: Place, versions: list[str], tmp_path: Path) -> None:
    check_interleaved(
        place,
        tmp_path,
        lambda registry, version: registry.prune(keep=1),
        lambda registry, version: promote(registry, version),
    )


def check_interleaved(place: Place, tmp_path: Path, outer: Any, inner: Any) -> None:
    refused = 0
    for call in range(1, MOST, place.stride):
        version = place.open().publish(make_candidate(tmp_path / f"p{call}", 10 + call))
        promote(place.open(), place.open().publish(make_candidate(tmp_path / f"newest{call}", 900 + call)))
        calls = []

        def before(name: str, calls: list = calls, call: int = call, version: str = version) -> None:
            calls.append(name)
            if len(calls) == call:
                nonlocal refused
                try:
                    inner(place.open(), version)
                except RegistryError:
                    refused += 1

        try:
            outer(hook(place.open(), before), version)
        except RegistryError:
            refused += 1
        registry = place.open()
        live = registry.aliases()["production"]
        assert verify(registry.fetch("production", tmp_path / "x")).version == live, f"at call {call}"
        if len(calls) < call:
            assert refused, "the two never met"
            return
    raise AssertionError("it never came to its end")
