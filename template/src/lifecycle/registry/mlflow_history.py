"""Who moved which alias, when and why, kept in MLflow so that of two racing promoters only one wins.

MLflow moves an alias without asking what it was: two people promoting at once would both be told that they
won. Each move is therefore written as a version of a second model, `<name>.history`. The database hands out
the numbers one by one, they decide who was first (contract.effective), and MLflow's own alias follows.
"""

from datetime import UTC, datetime

from mlflow import MlflowClient

from .. import project
from ..errors import Conflict
from .contract import Move, current, effective

HISTORY = f"{project.NAME}.history"
DESCRIPTION = "Who moved which alias, when and why. Written by lifecycle: do not edit."
FIELDS = ("action", "alias", "version", "previous", "by", "at", "reason")


def read(client: MlflowClient) -> list[Move]:
    """Return every move that was written, those that lost a race among them."""
    stored = client.search_model_versions(f"name = '{HISTORY}'")
    return [
        Move(int(item.version), *(item.tags.get(key, "") for key in FIELDS), base=int(item.tags["base"]))
        for item in stored
    ]


def append(
    client: MlflowClient,
    action: str,
    alias: str,
    to: tuple[str, str],
    last: Move | None,
    why: tuple[str, str],
) -> Move:
    """Write a move to (version, source) for why = (by, reason); Conflict when another was first.

    last is the alias's last move as its caller saw it.
    """
    at = datetime.now(UTC).isoformat(timespec="seconds")
    values = (action, alias, to[0], last.version if last else "", why[0], at, why[1])
    tags = dict(zip(FIELDS, values, strict=True)) | {"base": str(last.number if last else 0)}
    number = int(client.create_model_version(HISTORY, to[1], tags=tags).version)
    moves = read(client)
    done = next((move for move in effective(moves) if move.number == number), None)
    if done is None:
        winner = current(moves)[alias]
        raise Conflict(
            f"{winner.by} moved {alias} to {winner.version} at the same moment; your {action} was not done",
            "look: uv run lifecycle versions; then decide again",
        )
    return done
