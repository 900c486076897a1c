"""MLflow as the registry: its aliases, kept so that of two simultaneous promotions only one succeeds.

MLflow moves an alias without asking what it was: two people promoting at once would both be told that they
succeeded. Each move is therefore a version of a second model, NAME.history. The database hands out their
numbers one by one; a move counts if its base is the last move that counts. MLflow's own aliases are a copy
for its pages and other tools: moving one by hand changes nothing here, and the next move sets it right.
"""

import json
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import replace
from itertools import takewhile

from mlflow.exceptions import MlflowException

from .base import PRODUCTION, STAGING
from .mlflow_versions import Versions
from .transitions import Move, conflict

DESCRIPTION = "Who moved which alias, when and why. Written by lifecycle: do not edit."
TEXTS = ("action", "alias", "version", "previous", "by", "at", "reason", "manifest_sha256", "id")
KNOWN = "alias."  # a tag on the history's model for each alias that was ever moved
PAGE = 100


class MlflowRegistry(Versions):
    """The registry on MLflow."""

    def history(self, newest: int | None = None) -> list[Move]:
        with self.errors():
            return _done(self._newest_first())[-(newest or 0) :]

    def last(self, alias: str) -> tuple[Move, str]:
        with self.errors():
            newest = next(self._newest_first(alias), None)  # however long the history is
            return self._since(alias, newest.base)[-1] if newest else Move(), ""

    def heads(self) -> list[Move]:
        with self.errors():  # a search, because getting a model reads all its versions
            found = self._client.search_registered_models(f"name = '{self._history}'", 1)
        tags = found[0].tags if found else {}
        aliases = {tag.removeprefix(KNOWN) for tag in tags if tag.startswith(KNOWN)}
        return [head for alias in sorted(aliases) if (head := self.last(alias)[0]).number]

    def _since(self, alias: str, base: int) -> list[Move]:
        """Return the moves that took effect after the move `base`, which did."""
        return _done(takewhile(lambda move: move.number > base, self._newest_first(alias)), {alias: base})

    def _newest_first(self, alias: str = "") -> Iterator[Move]:
        """Yield every move that was written, those that lost against another among them."""
        query = f"name = '{self._history}'" + (f" and tags.alias = '{alias}'" if alias else "")
        for item in self.search(query, PAGE, "version_number DESC"):
            texts = {key: item.tags.get(key, "") for key in TEXTS}
            undo = tuple(json.loads(item.tags["undo"]))
            yield Move(int(item.version), **texts, base=int(item.tags["base"]), undo=undo)

    def append(self, move: Move, last: Move, tag: str) -> Move:
        if not last.number:
            with suppress(MlflowException):  # it is there already
                self._client.create_registered_model(self._history, description=DESCRIPTION)
            self._client.set_registered_model_tag(self._history, KNOWN + move.alias, "")
        if not (stored := self.find(move.version)):
            raise MlflowException(f"{move.version} is gone")
        tags = {key: getattr(move, key) for key in TEXTS}
        tags |= {"base": str(move.base), "undo": json.dumps(move.undo)}
        self.create(self._history, str(stored.source), stored.run_id, tags)
        done = self._since(move.alias, move.base)
        # By its id rather than its number: when an answer gets lost, the client writes it twice.
        ours = next((item for item in done if item.id == move.id), None)
        if ours is None:
            raise conflict(move, done[-1] if done else None)
        self.complete(ours)
        return replace(move, number=ours.number)

    def complete(self, last: Move) -> None:
        for name in (last.alias, *{STAGING, PRODUCTION} - {last.alias}):
            shown = None
            with suppress(MlflowException):  # it has no such alias yet
                shown = self._client.get_model_version_by_alias(self._name, name).version
            head, _ = self.last(name)
            if head.number and (stored := self.find(head.version)) and stored.version != shown:
                self._client.set_registered_model_alias(self._name, name, stored.version)


def _done(newest_first: Iterable[Move], last: dict[str, int] | None = None) -> list[Move]:
    """Return the moves that took effect, the oldest first. last: each alias's move before them."""
    last, done = last or {}, []
    for move in sorted(newest_first, key=lambda move: move.number):
        if move.base == last.get(move.alias, 0):
            last[move.alias] = move.number
            done.append(move)
    return done
