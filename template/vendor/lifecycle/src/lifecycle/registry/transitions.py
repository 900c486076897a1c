"""How aliases move and how versions are deleted: the rules that every registry shares.

A version that an alias points at, or is about to point at, is never deleted. A promotion marks its version
before it moves the alias; a prune marks a version before it deletes it. Each then checks for the mark of the
other, so at least one of the two sees it and gives way.
"""

import time
import uuid
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from ..errors import Conflict, RegistryError

if TYPE_CHECKING:
    from .base import Registry

PROMOTING, PRUNING = "wanted-", "pruning-"  # what the names of the two kinds of marks begin with
MARK_SECONDS = 24 * 3600  # after them the mark of a process that died no longer counts
UNDO_DEPTH = 20  # rollbacks in a row; it keeps the record of a move small


@dataclass(frozen=True)
class Move:
    """One entry of the history: an alias moved from previous to version, by whom, when and why."""

    number: int = 0  # orders the moves of an alias; 0 stands for no move
    action: str = ""
    alias: str = ""
    version: str = ""
    previous: str = ""
    by: str = ""
    at: str = ""
    reason: str = ""
    base: int = 0  # what its writer took for the last move: of two simultaneous writers only one is right
    undo: tuple[str, ...] = ()  # the versions that rollbacks go back to, the nearest first
    manifest_sha256: str = ""
    id: str = ""  # tells two moves apart that are otherwise equal


def next_move(action: str, version: str, alias: str, last: Move, by: str, reason: str) -> Move:
    """Return the move that follows last, the alias's last move as its caller saw it."""
    before = (last.version, *last.undo) if last.version else ()
    # A rollback undoes one promotion, so two in a row go back two versions and never forth again.
    undo = before[2:] if action == "rollback" else before[:UNDO_DEPTH]
    at = max(datetime.now(UTC).isoformat(timespec="milliseconds"), last.at)  # clocks differ between hosts
    entry = Move(last.number + 1, action, alias, version, last.version, by, at, reason, base=last.number)
    return replace(entry, undo=undo, id=uuid.uuid4().hex[:12])


def conflict(move: Move, winner: Move | None) -> Conflict:
    """Return the error for a move that lost against a simultaneous one."""
    who = f"{winner.by} moved {move.alias} to {winner.version}" if winner else f"somebody moved {move.alias}"
    text = f"{who} at the same moment; your {move.action} was not done"
    return Conflict(text, "check: uv run lifecycle versions; then decide again")


def refuse_pruned(registry: "Registry", version: str) -> None:
    """Raise Conflict while a version is being pruned."""
    if registry.marks(version, PRUNING):
        next_step = "take another version; if that prune was killed: uv run lifecycle prune"
        raise Conflict(f"{version} is being pruned", next_step)


def prune(registry: "Registry", keep: int) -> list[str]:
    """Delete all but the newest versions and those in use: what aliases point at, and roll back to."""
    if keep < 1:
        raise RegistryError("prune keeps at least one version", "uv run lifecycle prune --keep 10")
    visible, begun = registry.listing()
    used = _in_use(registry)
    chosen = sorted({*visible[keep:], *begun} - used)
    mark = PRUNING + uuid.uuid4().hex[:12]
    for version in chosen:
        registry.mark(version, mark)
    # In this order: a promotion removes its mark only after it has moved the alias.
    used |= {version for version in chosen if _recent(registry, version, PROMOTING)}
    used |= _in_use(registry)
    for version in chosen:
        if version in used:
            registry.unmark(version, mark)
        else:
            registry.remove(version)
    for version in begun & used:
        for old in registry.marks(version, PRUNING).keys() - _recent(registry, version, PRUNING):
            registry.unmark(version, old)  # of a prune that was killed
    return [version for version in chosen if version not in used]


def _in_use(registry: "Registry") -> set[str]:
    """Return what the aliases point at and what their next rollbacks go to."""
    return {version for move in registry.heads() for version in (move.version, *move.undo[:1])}


def _recent(registry: "Registry", version: str, kind: str) -> set[str]:
    oldest = time.time() - MARK_SECONDS
    return {mark for mark, at in registry.marks(version, kind).items() if at > oldest}
