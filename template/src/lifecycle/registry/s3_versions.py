"""Immutable versions in a store of objects: models/<version>/ with the candidate's files.

All are written create-only. manifest.json comes last and makes the version visible; the name of the empty
object sealed-<sha256> says which manifest that must be.
"""

import hashlib
import time
from pathlib import Path

from .. import candidate
from ..candidate import FILES, MANIFEST
from ..errors import DigestMismatch, RegistryError
from .moves import PRUNING, refuse_doomed
from .s3_objects import Store

SEALED = "sealed-"
NEXT = "take another version, and find out who changed it"


class Versions:
    """The versions in a store."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def publish(self, folder: Path) -> str:
        version = candidate.verify(folder).version
        seal = (folder / MANIFEST).read_bytes()
        refuse_doomed(self, version)
        if MANIFEST in self.names(version):
            return version
        files = {name: (folder / name).read_bytes() for name in FILES}
        files[SEALED + sha256(seal)] = b""
        for name, data in files.items():
            if not self._store.create(f"models/{version}/{name}", data):
                raise RegistryError(
                    f"{self._place(version)}/{name} is there and is another file",
                    "find out who wrote it, or train again",
                )
        refuse_doomed(self, version)
        # Another publisher's manifest is as good: the same files, judged again.
        self._store.create(f"models/{version}/{MANIFEST}", seal)
        return version

    def _place(self, version: str) -> str:
        return f"{self._store.place}/models/{version}"

    def names(self, version: str) -> set[str]:
        """Return the names of a version's objects; with manifest.json among them it is visible."""
        prefix = f"models/{version}/"
        return {key.removeprefix(prefix) for key in self._store.list(prefix)}

    def seal(self, version: str, digest: str = "") -> bytes:
        """Return a version's manifest.json as it was published, and promoted where a digest is given."""
        names = self.names(version)
        found = self._store.read(f"models/{version}/{MANIFEST}")
        if found is None:
            raise RegistryError(f"{self._place(version)}/{MANIFEST} is missing", "take another version")
        actual = sha256(found[0])
        if SEALED + actual not in names or digest not in ("", actual):
            raise DigestMismatch(
                f"{self._place(version)}/{MANIFEST} is not the file that was published", NEXT
            )
        return found[0]

    def fetch(self, version: str, folder: Path, digest: str = "") -> None:
        """Fill an empty folder with a version's files, and check them."""
        (folder / MANIFEST).write_bytes(self.seal(version, digest))
        for name in FILES:
            if found := self._store.read(f"models/{version}/{name}"):
                (folder / name).write_bytes(found[0])
        try:
            inside = candidate.verify(folder).version
        except DigestMismatch as error:
            raise DigestMismatch(str(error).replace(str(folder), self._place(version)), NEXT) from error
        if inside != version:
            raise DigestMismatch(f"{self._place(version)} holds another version, {inside}", NEXT)

    def listing(self) -> tuple[list[str], set[str]]:
        keys = [key.split("/", 2) for key in self._store.list("models/")]
        begun = {version for _, version, name in keys if name.startswith(PRUNING)}
        visible = {version for _, version, name in keys if name == MANIFEST}
        return sorted(visible, reverse=True), begun

    def mark(self, version: str, mark: str) -> None:
        self._store.create(f"models/{version}/{mark}", str(time.time()).encode())

    def unmark(self, version: str, mark: str) -> None:
        self._store.delete(f"models/{version}/{mark}")

    def marks(self, version: str, kind: str) -> dict[str, float]:
        names = [name for name in self.names(version) if name.startswith(kind)]
        found = {name: self._store.read(f"models/{version}/{name}") for name in names}
        return {name: float(item[0]) for name, item in found.items() if item}

    def remove(self, version: str) -> None:
        order = {MANIFEST: 0} | {name: 2 for name in self.names(version) if name.startswith(PRUNING)}
        for name in sorted(self.names(version), key=lambda name: order.get(name, 1)):
            self._store.delete(f"models/{version}/{name}")


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
