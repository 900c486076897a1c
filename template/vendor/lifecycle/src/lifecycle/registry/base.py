"""What every registry promises, whichever store is behind it."""

import getpass
import hashlib
import os
import re
import subprocess
from abc import ABC, abstractmethod
from collections.abc import Iterable
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path

from ..errors import Conflict, DigestMismatch, LifecycleError, RegistryError, missing_extra
from ..files import fresh_folder
from ..model.package import FILES, MANIFEST, Manifest, verify
from ..project import Project
from .transitions import PROMOTING, Move, next_move, prune, refuse_pruned

STAGING, PRODUCTION = "staging", "production"
NAME = re.compile(r"\w[\w.-]*")  # of a version or an alias
NOTHING_LIVE = "no version is in production", "approve one: make promote"


@dataclass(frozen=True)
class Version:
    """One immutable version, and the aliases that point at it."""

    version: str
    aliases: tuple[str, ...] = ()


class Registry(ABC):
    """Versions are written once, an alias moves only from what its mover saw, and history only grows.

    Where a version is asked for, the name of an alias will do. Each store implements the abstract methods.
    """

    place: str  # where it is, for messages

    def publish(self, folder: Path) -> str:
        """Publish a sealed candidate, visible only when complete, and return its version; again: no change.

        Raises DigestMismatch or RegistryError.
        """
        manifest = verify(folder)
        with self.writing():
            if self.read(manifest.version) is None:
                self.write(folder, manifest)
            else:
                refuse_pruned(self, manifest.version)
        return manifest.version

    def fetch(self, version: str, to: Path) -> Path:
        """Copy a version into a folder, which takes the place of `to` when all digests are right."""
        files = self._read(*self._find(version), *FILES)
        with fresh_folder(to) as folder:
            for name, data in files.items():
                (folder / name).write_bytes(data)
        return to

    def manifest(self, version: str) -> Manifest:
        """Return what a version is and what reproduces it."""
        return Manifest.model_validate_json(self._read(*self._find(version))[MANIFEST])

    def versions(self) -> list[Version]:
        """Return all versions, the newest first."""
        aliases = sorted(self.aliases().items())
        return [Version(found, tuple(a for a, at in aliases if at == found)) for found in self.listing()[0]]

    def resolve(self, name: str) -> str:
        """Return the version that an alias points at, or the version itself. Raises RegistryError if none."""
        return self._find(name)[0]

    def aliases(self) -> dict[str, str]:
        """Return {alias: version}."""
        return {move.alias: move.version for move in self.heads()}

    def promote(self, version: str, alias: str, by: str, reason: str, seen: Move | None = None) -> Move:
        """Point an alias at a version. Raises Conflict if it was moved meanwhile, or after `seen`."""
        last, tag = self._unmoved(alias, seen)
        version = self.resolve(version)
        if last.version == version:
            with self.writing():
                self.complete(last)
            return last
        return self._move(next_move("promote", version, alias, last, by, reason), last, tag)

    def rollback(self, alias: str, by: str, reason: str, seen: Move | None = None) -> Move:
        """Point an alias back at the version before, as promote does. Raises RegistryError without one."""
        last, tag = self._unmoved(alias, seen)
        if not last.undo:
            next_step = "promote another: make promote VERSION=…; uv run lifecycle versions lists them"
            raise RegistryError(f"there is no version before {alias}'s to roll back to", next_step)
        return self._move(next_move("rollback", last.undo[0], alias, last, by, reason), last, tag)

    def _unmoved(self, alias: str, seen: Move | None) -> tuple[Move, str]:
        last, tag = self.last(alias)
        if seen and last.number != seen.number:
            raise Conflict(f"{last.by} moved {alias} to {last.version} meanwhile", "decide again")
        return last, tag

    def prune(self, keep: int) -> list[str]:
        """Delete all but the newest versions and those in use or being promoted; return what was deleted."""
        with self.writing():
            return prune(self, keep)

    def _find(self, name: str) -> tuple[str, str]:
        """Return a version, and the digest of its manifest if an alias has kept it."""
        if NAME.fullmatch(name):
            last, _ = self.last(name)
            if last.version or self.read(name) is not None:
                return last.version or name, last.manifest_sha256
        known = ", ".join(self.listing()[0][:5]) or "none"
        raise RegistryError(f"no version or alias {name} in {self.place}", f"the newest: {known}")

    def _read(self, version: str, digest: str, *names: str) -> dict[str, bytes]:
        """Return the manifest and other files of a version, once each is known to be what was published.

        digest: of the manifest as it was promoted, or "". Raises DigestMismatch that names the file.
        """
        files, seals = self.read(version, (MANIFEST, *names)) or ({}, set())
        allowed = {MANIFEST: {digest} & seals if digest else seals}
        for name in (MANIFEST, *names):
            if name not in files or sha256(files[name]) not in allowed[name]:
                fault = "not the file that was published" if name in files else "missing"
                next_step = "take another version, and find out who changed it"
                raise DigestMismatch(f"{self.place}: {version}/{name} is {fault}", next_step)
            if name == MANIFEST:
                facts = Manifest.model_validate_json(files[MANIFEST]).files
                allowed |= {name: {facts[name].sha256} for name in names}
        return files

    def _move(self, move: Move, last: Move, tag: str) -> Move:
        mark = PROMOTING + move.id  # it keeps a prune away
        with self.writing():
            self.mark(move.version, mark)
            try:
                refuse_pruned(self, move.version)
                seal = sha256(self._read(move.version, "")[MANIFEST])
                return self.append(replace(move, manifest_sha256=seal), last, tag)
            finally:
                with suppress(Exception):  # an error on the way out matters more
                    self.unmark(move.version, mark)

    def writing(self) -> AbstractContextManager[object]:
        """Return a context in which no other process writes, for a store that needs one."""
        return nullcontext()

    @abstractmethod
    def history(self, newest: int | None = None) -> list[Move]:
        """Return the moves that took effect, the oldest first; newest: only so many of the last."""

    @abstractmethod
    def last(self, alias: str) -> tuple[Move, str]:
        """Return an alias's last move, whose number is 0 if there is none, and the tag that append needs."""

    @abstractmethod
    def heads(self) -> list[Move]:
        """Return the last move of each alias."""

    @abstractmethod
    def append(self, move: Move, last: Move, tag: str) -> Move:
        """Move an alias and return the move as it was written. Raises Conflict if last is not the last."""

    @abstractmethod
    def complete(self, last: Move) -> None:
        """Write what a kill may have kept back of an alias's last move."""

    @abstractmethod
    def write(self, folder: Path, manifest: Manifest) -> None:
        """Write a candidate's files, and make the version visible unless it is being pruned."""

    @abstractmethod
    def read(self, version: str, names: Iterable[str] = ()) -> tuple[dict[str, bytes], set[str]] | None:
        """Return those files that are there, and the digests its manifest may have; None if not visible."""

    @abstractmethod
    def listing(self) -> tuple[list[str], set[str]]:
        """Return the visible versions, the newest first, and those that a prune has begun to delete."""

    @abstractmethod
    def remove(self, version: str) -> None:
        """Delete a version: it becomes invisible first, and the marks of its prune go last."""

    @abstractmethod
    def mark(self, version: str, mark: str) -> None:
        """Add a mark to a version, which may be half removed."""

    @abstractmethod
    def unmark(self, version: str, mark: str) -> None:
        """Remove a mark from a version."""

    @abstractmethod
    def marks(self, version: str, kind: str) -> dict[str, float]:
        """Return each mark that begins with kind, and when it was made, in seconds since 1970."""


def open_registry(project: Project) -> Registry:
    """Open the registry that the project chose. Raises SettingsError if its extra is not installed."""
    try:
        return import_module(f".{project.registry}", __package__).open_registry(project)
    except ModuleNotFoundError as error:
        raise missing_extra(project.registry, error) from error


def take_back(registry: Registry, to: str, by: str, why: str, seen: Move | None = None) -> Move:
    """Point production back at the version before, or at `to`, which serves again already.

    seen: the last move when that was decided; raises Conflict if there was another since.
    """
    if to and to not in registry.last(PRODUCTION)[0].undo[:1]:
        # What served before need not be what had the alias before. A version that has it already keeps it.
        return registry.promote(to, PRODUCTION, by, why, seen)
    return registry.rollback(PRODUCTION, by, why, seen)


def production_model(project: Project) -> Path | None:
    """Fetch production's version into artifacts/live and return that folder; None while there is none."""
    registry = open_registry(project)
    if not registry.last(PRODUCTION)[0].version:
        return None
    try:
        return registry.fetch(PRODUCTION, project.artifacts / "live")
    except RegistryError as error:
        error.next_step = "set gate.compare_with_live to false if that version is lost for good"
        raise


def live_folder(project: Project) -> Path:
    """Return what production_model returns. Raises LifecycleError while no version is in production."""
    if folder := production_model(project):
        return folder
    raise LifecycleError(*NOTHING_LIVE)


def live_version(registry: Registry) -> str:
    """Return the version in production. Raises LifecycleError while there is none."""
    if version := registry.last(PRODUCTION)[0].version:
        return version
    raise LifecycleError(*NOTHING_LIVE)


def whoami(project: Project) -> str:
    """Return who answers for a move: LIFECYCLE_BY, else git's user.name, else the account."""
    name, git = os.environ.get("LIFECYCLE_BY"), ["git", "config", "user.name"]
    with suppress(FileNotFoundError):  # git is not installed
        name = name or subprocess.run(git, cwd=project.root, stdout=subprocess.PIPE, text=True).stdout.strip()
    return name or getpass.getuser()


def sha256(data: bytes) -> str:
    """Return the SHA-256 of bytes, in hexadecimal."""
    return hashlib.sha256(data).hexdigest()
