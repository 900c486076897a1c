"""What every registry promises, whichever store is behind it."""

import json
from dataclasses import asdict, dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol

from .. import project
from ..candidate import Manifest
from ..errors import RegistryError

STAGING, PRODUCTION = "staging", "production"


@dataclass(frozen=True)
class Version:
    """One immutable version, and the aliases that point at it."""

    version: str
    aliases: tuple[str, ...] = ()


@dataclass(frozen=True)
class Move:
    """One entry of the history: an alias moved from previous to version, by whom, when and why.

    number orders the moves of an alias; base is the number of the move that its writer believed to be the
    last one, so that of two racing writers only the first is right (compare-and-swap). undo holds the
    versions that rollbacks go back to, the nearest first, so that a rollback never guesses. id tells two
    moves apart that say the same.
    """

    number: int
    action: str
    alias: str
    version: str
    previous: str
    by: str
    at: str
    reason: str
    base: int = 0
    undo: tuple[str, ...] = ()
    manifest_sha256: str = ""
    id: str = ""

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, text: str | bytes, where: str) -> "Move":
        """Read a move; RegistryError that says where a damaged one lies."""
        try:
            facts = json.loads(text)
            return cls(**facts | {"undo": tuple(facts["undo"])})
        except (KeyError, TypeError, ValueError) as error:
            raise RegistryError(f"{where} is damaged", "find out who changed it") from error


class Registry(Protocol):
    """Versions are written once, aliases move by compare-and-swap, and history is only appended to.

    Where a version is asked for, the name of an alias will do.
    """

    def publish(self, folder: Path) -> str:
        """Publish a sealed candidate and return its version; a second time changes nothing.

        Until it is complete nobody sees it. Raises DigestMismatch or RegistryError.
        """
        ...

    def fetch(self, version: str, to: Path) -> Path:
        """Copy a version into a folder, and check each digest before the folder takes its place."""
        ...

    def manifest(self, version: str) -> Manifest:
        """Return what a version is and what reproduces it."""
        ...

    def versions(self) -> list[Version]:
        """Return all versions, the newest first."""
        ...

    def resolve(self, name: str) -> str:
        """Return the version that an alias points at, or the version itself; RegistryError if none."""
        ...

    def aliases(self) -> dict[str, str]:
        """Return {alias: version}."""
        ...

    def promote(self, version: str, alias: str, by: str, reason: str) -> Move:
        """Point an alias at a version; Conflict if somebody else moved it meanwhile."""
        ...

    def rollback(self, alias: str, by: str, reason: str) -> Move:
        """Point an alias back at the version before; RegistryError if there is none."""
        ...

    def history(self, newest: int | None = None) -> list[Move]:
        """Return the moves that took effect, the oldest first; newest: only so many of the last."""
        ...

    def prune(self, keep: int) -> list[str]:
        """Delete all but the newest versions, and return what was deleted.

        What an alias points at stays, and what its rollback goes to, and what is just being promoted.
        """
        ...

    def note(self, name: str) -> tuple[str, str]:
        """Return a short text that is kept beside the versions, and the tag to swap it by; two "" if none."""
        ...

    def swap_note(self, name: str, text: str, tag: str) -> bool:
        """Write a note; False if somebody changed it since its tag was read."""
        ...


def open_registry() -> Registry:
    """Open the registry that this project chose."""
    return import_module(f".{project.REGISTRY}", __package__).open_registry()


def last_move(registry: Registry) -> Move | None:
    """Return the last move of the alias production; None if none is among the newest 200 of all aliases."""
    return next((move for move in reversed(registry.history(200)) if move.alias == PRODUCTION), None)


def live_model() -> Path | None:
    """Return a folder with the version that has the alias production; None while there is none."""
    registry = open_registry()
    version = registry.aliases().get(PRODUCTION)
    if version is None:
        return None
    try:
        return registry.fetch(version, project.LIVE)
    except RegistryError as error:
        error.next_step = "set gate.compare_with_live to false if that version is lost for good"
        raise
