"""Timestamped versions in S3, or in a folder: REGISTRY_URI is s3://bucket/prefix, or file:///path.

models/<version>/     see s3_versions.py
aliases/<alias>.json  the alias's last move, moved by compare-and-swap
history/              every move, written after its alias; the next one makes good what a kill left out
notes/                who retrains, by compare-and-swap too
"""

import os
import re
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from urllib.parse import unquote

from ..candidate import MANIFEST, Manifest
from ..columns import to_json
from ..errors import RegistryError, SettingsError
from ..project import fresh_folder
from .contract import Move, Registry, Version
from .moves import lost, next_move, nothing_before, prune, wanted
from .s3_objects import READERS, Folder, Store
from .s3_versions import Versions, sha256

EMBEDDED = "file://registry"
NAME = re.compile(r"[\w.-]+")


def open_registry() -> Registry:
    """Open the registry that REGISTRY_URI names, or the folder registry/ of this project."""
    uri = os.environ.get("REGISTRY_URI") or EMBEDDED
    scheme, _, rest = uri.partition("://")
    if scheme == "s3" and rest:
        from .s3_bucket import Bucket  # boto3 takes a second to load, and a folder does not need it

        bucket, _, prefix = rest.strip("/").partition("/")
        return S3Registry(Bucket(bucket, prefix))
    if scheme == "file" and rest:
        return S3Registry(Folder(Path(unquote(rest))))
    raise SettingsError(f"REGISTRY_URI is {uri!r}", "set it to s3://bucket/prefix or to file:///path")


class S3Registry:
    """The contract on a store of objects."""

    def __init__(self, store: Store) -> None:
        self._store, self._versions = store, Versions(store)

    def publish(self, folder: Path) -> str:
        return self._versions.publish(folder)

    def resolve(self, name: str) -> str:
        return self._find(name)[0]

    def _find(self, name: str) -> tuple[str, str]:
        """Return a version, and what its manifest hashes to where an alias says so."""
        if NAME.fullmatch(name):
            if last := self._last(name)[0]:
                return last.version, last.manifest_sha256
            if MANIFEST in self._versions.names(name):
                return name, ""
        known = ", ".join(self._versions.listing()[0][:5]) or "none"
        raise RegistryError(f"no version or alias {name} in {self._store.place}", f"the newest: {known}")

    def fetch(self, version: str, to: Path) -> Path:
        version, seal = self._find(version)
        with fresh_folder(to) as folder:
            self._versions.fetch(version, folder, seal)
        return to

    def manifest(self, version: str) -> Manifest:
        return Manifest.model_validate_json(self._versions.seal(*self._find(version)))

    def versions(self) -> list[Version]:
        names: dict[str, list[str]] = defaultdict(list)
        for alias, version in sorted(self.aliases().items()):
            names[version].append(alias)
        return [Version(version, tuple(names[version])) for version in self._versions.listing()[0]]

    def aliases(self) -> dict[str, str]:
        return {move.alias: move.version for move in self._heads()}

    def _heads(self) -> list[Move]:
        names = [key[len("aliases/") : -len(".json")] for key in self._store.list("aliases/")]
        return [move for name in names if (move := self._last(name)[0])]

    def _last(self, alias: str) -> tuple[Move | None, str]:
        """Return an alias's last move, and the tag by which to swap it."""
        key = f"aliases/{alias}.json"
        found = self._store.read(key)
        return (Move.from_json(found[0], f"{self._store.place}/{key}"), found[1]) if found else (None, "")

    def promote(self, version: str, alias: str, by: str, reason: str) -> Move:
        last, tag = self._last(alias)
        version = self.resolve(version)
        if last and last.version == version:
            self._log(last)
            return last
        return self._move(next_move("promote", version, alias, last, by, reason), last, tag)

    def rollback(self, alias: str, by: str, reason: str) -> Move:
        last, tag = self._last(alias)
        if last is None or not last.undo:
            raise nothing_before(alias)
        return self._move(next_move("rollback", last.undo[0], alias, last, by, reason), last, tag)

    def _move(self, move: Move, last: Move | None, tag: str) -> Move:
        key = f"aliases/{move.alias}.json"
        with wanted(self._versions, move):
            seal = sha256(self._versions.seal(move.version))
            move = replace(move, manifest_sha256=seal)
            if last:
                self._log(last)
            if not self._store.swap(key, to_json(move.to_dict()).encode(), tag):
                raise lost(move, self._last(move.alias)[0])
            self._log(move)
        return move

    def _log(self, move: Move) -> None:
        self._store.create(_entry(move), to_json(move.to_dict()).encode())

    def history(self, newest: int | None = None) -> list[Move]:
        keys = self._store.list("history/")
        heads = {_entry(move): move for move in self._heads()}
        chosen = sorted({*keys, *heads})[-(newest or len(keys) + len(heads)) :]

        def read(key: str) -> Move:
            if key in heads:
                return heads[key]
            found = self._store.read(key)
            return Move.from_json(found[0] if found else b"", f"{self._store.place}/{key}")

        with ThreadPoolExecutor(READERS) as pool:
            return list(pool.map(read, chosen))

    def prune(self, keep: int) -> list[str]:
        return prune(self._versions, self._heads, keep)

    def note(self, name: str) -> tuple[str, str]:
        text, tag = self._store.read(f"notes/{name}") or (b"", "")
        return text.decode(), tag

    def swap_note(self, name: str, text: str, tag: str) -> bool:
        return self._store.swap(f"notes/{name}", text.encode(), tag)


def _entry(move: Move) -> str:
    """Return the key of a move in the history: they sort by time, and an alias's own by number."""
    return f"history/{move.at.replace('-', '').replace(':', '')[:19]}Z-{move.alias}-{move.number:06d}.json"
