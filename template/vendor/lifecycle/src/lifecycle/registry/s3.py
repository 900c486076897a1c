"""The registry on objects: REGISTRY_URI is s3://bucket/prefix or file:///path, else the project's registry/.

models/<version>/     the candidate's files, each written once. manifest.json comes last and makes it visible;
                      the names of two empty objects say which manifest that must be, sealed-<sha256>, and
                      that it came after smaller numbers, order-<number>: clocks may be wrong.
aliases/<alias>.json  the alias's last move, replaced only by who has read it
history/              every move, written after its alias; the next move adds what a kill has kept back
state/                see state/store.py
"""

import json
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path

from ..errors import RegistryError
from ..files import to_json
from ..model.package import FILES, MANIFEST, Manifest
from ..project import Project
from .base import NAME, Registry, sha256
from .objects import Store, registry_store
from .transitions import PRUNING, Move, conflict, refuse_pruned

SEALED, ORDER = "sealed-", "order-"
READERS = 16  # objects that are read at once


class ObjectRegistry(Registry):
    """The registry on a store of objects."""

    def __init__(self, store: Store) -> None:
        self._store, self.place = store, store.place

    def _names(self, version: str) -> set[str]:
        prefix = f"models/{version}/"
        return {key.removeprefix(prefix) for key in self._store.list(prefix)}

    def _contents(self, version: str, names: Iterable[str]) -> dict[str, bytes]:
        found = {name: self._store.read(f"models/{version}/{name}") for name in names}
        return {name: item[0] for name, item in found.items() if item}

    def write(self, folder: Path, manifest: Manifest) -> None:
        refuse_pruned(self, version := manifest.version)
        seal = (folder / MANIFEST).read_bytes()
        files = {name: (folder / name).read_bytes() for name in FILES} | {SEALED + sha256(seal): b""}
        _, numbers = self._keys()
        if version not in numbers:
            files[f"{ORDER}{max(numbers.values(), default=0) + 1:09d}"] = b""
        for name, data in files.items():
            if not self._store.swap(key := f"models/{version}/{name}", data):
                text = f"{self.place}/{key} is there and is another file"
                raise RegistryError(text, "find out who wrote it, or train again")
        refuse_pruned(self, version)
        # Another publisher's manifest is as good: the same files, evaluated again.
        self._store.swap(f"models/{version}/{MANIFEST}", seal)

    def read(self, version: str, names: Iterable[str] = ()) -> tuple[dict[str, bytes], set[str]] | None:
        there = self._names(version)
        if MANIFEST not in there:
            return None
        seals = {name.removeprefix(SEALED) for name in there if name.startswith(SEALED)}
        return self._contents(version, names), seals

    def _keys(self) -> tuple[list[list[str]], dict[str, int]]:
        """Return [version, name] of each object, and the number of each version."""
        keys = [key.split("/", 2)[1:] for key in self._store.list("models/")]
        return keys, {version: int(name[len(ORDER) :]) for version, name in keys if name.startswith(ORDER)}

    def listing(self) -> tuple[list[str], set[str]]:
        keys, numbers = self._keys()
        visible = {version for version, name in keys if name == MANIFEST}
        newest_first = sorted(visible, key=lambda version: (numbers.get(version, 0), version), reverse=True)
        return newest_first, {version for version, name in keys if name.startswith(PRUNING)}

    def remove(self, version: str) -> None:
        for name in sorted(self._names(version), key=lambda n: (n != MANIFEST, n.startswith(PRUNING))):
            self._store.delete(f"models/{version}/{name}")

    def mark(self, version: str, mark: str) -> None:
        self._store.swap(f"models/{version}/{mark}", str(time.time()).encode())

    def unmark(self, version: str, mark: str) -> None:
        self._store.delete(f"models/{version}/{mark}")

    def marks(self, version: str, kind: str) -> dict[str, float]:
        found = self._contents(version, (name for name in self._names(version) if name.startswith(kind)))
        return {name: float(data) for name, data in found.items()}

    def last(self, alias: str) -> tuple[Move, str]:
        found = self._store.read(key := f"aliases/{alias}.json")
        return (self._parse(found[0], key), found[1]) if found else (Move(), "")

    def _parse(self, text: bytes, key: str) -> Move:
        try:
            facts = json.loads(text)
            move = Move(**facts | {"undo": tuple(facts["undo"])})
            if not all(NAME.fullmatch(version) for version in (move.version, *move.undo)):
                raise ValueError(move.version)
            return move
        except (KeyError, TypeError, ValueError) as error:
            raise RegistryError(f"{self.place}/{key} is damaged", "find out who changed it") from error

    def heads(self) -> list[Move]:
        return [self.last(Path(key).stem)[0] for key in self._store.list("aliases/")]

    def append(self, move: Move, last: Move, tag: str) -> Move:
        self.complete(last)
        if not self._store.swap(f"aliases/{move.alias}.json", _bytes(move), tag):
            raise conflict(move, self.last(move.alias)[0])
        self.complete(move)
        return move

    def complete(self, last: Move) -> None:
        if last.number:
            self._store.swap(_entry(last), _bytes(last))

    def history(self, newest: int | None = None) -> list[Move]:
        heads = {_entry(move): move for move in self.heads()}
        chosen = sorted({*self._store.list("history/"), *heads})[-(newest or 0) :]

        def read(key: str) -> Move:
            return heads[key] if key in heads else self._parse((self._store.read(key) or (b"",))[0], key)

        with ThreadPoolExecutor(READERS) as pool:
            return list(pool.map(read, chosen))


def _bytes(move: Move) -> bytes:
    return to_json(asdict(move)).encode()


def _entry(move: Move) -> str:
    """Return the key of a move in the history: moves sort by time, and those of an alias by number."""
    return f"history/{move.at.replace('-', '').replace(':', '')[:19]}Z-{move.alias}-{move.number:06d}.json"


def open_registry(project: Project) -> Registry:
    """Open the registry of a project."""
    return ObjectRegistry(registry_store(project))
