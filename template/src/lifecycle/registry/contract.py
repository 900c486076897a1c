"""What every registry promises, whichever store is behind it."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

STAGING, PRODUCTION = "staging", "production"


@dataclass(frozen=True)
class Version:
    """One immutable version, and the aliases that point at it."""

    version: str
    aliases: tuple[str, ...] = ()


@dataclass(frozen=True)
class Move:
    """One entry of the history: an alias moved from previous to version, by whom, when and why.

    number orders the entries; base is the number of the entry that its writer believed to be the last
    one for this alias, so that of two racing writers only the first is right (compare-and-swap).
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

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


class Registry(Protocol):
    """Versions are written once, aliases move by compare-and-swap, and history is only appended to."""

    def publish(self, folder: Path) -> str:
        """Publish a sealed candidate and return its version; a second time changes nothing.

        Until it is complete nobody sees it. Raises DigestMismatch or RegistryError.
        """
        ...

    def fetch(self, version: str, to: Path) -> Path:
        """Copy a version, or what an alias points at, into a folder, and check each digest."""
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

    def history(self) -> list[Move]:
        """Return the moves that took effect, the oldest first."""
        ...


def effective(moves: Iterable[Move]) -> list[Move]:
    """Return the moves that took effect: those whose base was the last effective move of their alias."""
    last: dict[str, int] = {}
    done = []
    for move in sorted(moves, key=lambda move: move.number):
        if move.base == last.get(move.alias, 0):
            last[move.alias] = move.number
            done.append(move)
    return done


def current(moves: Iterable[Move]) -> dict[str, Move]:
    """Return the last effective move of each alias."""
    return {move.alias: move for move in effective(moves)}


def before(moves: Iterable[Move], alias: str) -> str:
    """Return the version that a rollback of the alias goes to; empty if there is none.

    A rollback undoes one promotion, so two in a row go back two versions and never forth again.
    """
    stack: list[str] = []
    for move in effective(moves):
        if move.alias == alias and move.action == "rollback":
            stack.pop()
        elif move.alias == alias:
            stack.append(move.version)
    return stack[-2] if len(stack) > 1 else ""
