"""How an alias moves and how versions are deleted, decided the same for every store.

A version that an alias points at, or is about to point at, is never deleted: a promoter marks it as wanted
before it moves the alias, prune marks it as pruned before it deletes. Each then looks for the other's mark,
so that at least one of the two sees it and gives way.
"""

import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from typing import Protocol

from ..errors import Conflict, RegistryError
from .contract import Move

WANTED, PRUNING = "wanted-", "pruning-"
FORGOTTEN = 24 * 3600  # seconds after which the mark of a process that died no longer counts
UNDO_DEPTH = 20  # so many rollbacks in a row; a record of a move stays small


def next_move(action: str, version: str, alias: str, last: Move | None, by: str, reason: str) -> Move:
    """Return the move that follows last, the alias's last move as its caller saw it.

    A rollback undoes one promotion, so two in a row go back two versions and never forth again.
    """
    if last is None:
        undo: tuple[str, ...] = ()
    elif action == "rollback":
        undo = last.undo[1:]
    else:
        undo = (last.version, *last.undo)[:UNDO_DEPTH]
    at = datetime.now(UTC).isoformat(timespec="milliseconds")
    return Move(
        number=last.number + 1 if last else 1,
        action=action,
        alias=alias,
        version=version,
        previous=last.version if last else "",
        by=by,
        at=max(at, last.at) if last else at,  # clocks differ: within an alias time never goes back
        reason=reason,
        base=last.number if last else 0,
        undo=undo,
        id=uuid.uuid4().hex[:12],
    )


def in_use(moves: list[Move]) -> set[str]:
    """Return what the aliases, by their last moves, point at and would roll back to: prune keeps it."""
    return {version for move in moves for version in (move.version, *move.undo[:1])}


def lost(move: Move, winner: Move | None) -> Conflict:
    """Return what the loser of a race is told."""
    who = f"{winner.by} moved {move.alias} to {winner.version}" if winner else f"somebody moved {move.alias}"
    return Conflict(
        f"{who} at the same moment; your {move.action} was not done",
        "look: uv run lifecycle versions; then decide again",
    )


def nothing_before(alias: str) -> RegistryError:
    return RegistryError(
        f"there is no version before {alias}'s to roll back to",
        "promote another: make promote VERSION=…; uv run lifecycle versions lists them",
    )


class Marked(Protocol):
    """Versions that can carry marks. A version that is half removed, and marked, is still there."""

    def listing(self) -> tuple[list[str], set[str]]:
        """Return the visible versions, the newest first, and those that a prune has begun with."""
        ...

    def mark(self, version: str, mark: str) -> None: ...

    def unmark(self, version: str, mark: str) -> None: ...

    def marks(self, version: str, kind: str) -> dict[str, float]:
        """Return each mark that begins with kind, and when it was made, in seconds since 1970."""
        ...

    def remove(self, version: str) -> None:
        """Delete a version: out of sight first, the marks of its pruning last."""
        ...


@contextmanager
def wanted(versions: Marked, move: Move) -> Iterator[None]:
    """Keep prune from the version that an alias is about to point at; Conflict if it is at it already."""
    mark = WANTED + move.id
    versions.mark(move.version, mark)
    try:
        refuse_doomed(versions, move.version)
        yield
    finally:
        with suppress(Exception):  # prune forgets it in a day, and an error on the way out counts more
            versions.unmark(move.version, mark)


def refuse_doomed(versions: Marked, version: str) -> None:
    """Raise Conflict while a version is being pruned."""
    if versions.marks(version, PRUNING):
        raise Conflict(
            f"{version} is being pruned",
            "take another version; if that prune was killed: uv run lifecycle prune",
        )


def prune(versions: Marked, heads: Callable[[], list[Move]], keep: int) -> list[str]:
    """Delete all but the newest versions and return what was deleted; heads gives the aliases' last moves."""
    if keep < 1:
        raise RegistryError("prune keeps at least one version", "uv run lifecycle prune --keep 10")
    visible, begun = versions.listing()
    used = in_use(heads())
    chosen = sorted({*visible[keep:], *begun} - used)
    mark = PRUNING + uuid.uuid4().hex[:12]
    for version in chosen:
        versions.mark(version, mark)
    # In this order: a promoter takes its mark away only when the alias has been moved.
    used |= {version for version in chosen if _fresh(versions, version, WANTED)}
    used |= in_use(heads())
    for version in chosen:
        if version in used:
            versions.unmark(version, mark)
        else:
            versions.remove(version)
    for version in begun & used:
        for old in versions.marks(version, PRUNING).keys() - _fresh(versions, version, PRUNING):
            versions.unmark(version, old)  # of a prune that was killed
    return [version for version in chosen if version not in used]


def _fresh(versions: Marked, version: str, kind: str) -> set[str]:
    oldest = time.time() - FORGOTTEN
    return {mark for mark, at in versions.marks(version, kind).items() if at > oldest}
