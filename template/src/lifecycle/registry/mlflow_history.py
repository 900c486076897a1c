"""Who moved which alias, when and why, kept in MLflow so that of two racing promoters only one wins.

MLflow moves an alias without asking what it was: two people promoting at once would both be told that they
won. Each move is therefore written as a version of a second model, `<name>.history`. The database hands out
the numbers one by one: a move counts if its base is the last move that counts. MLflow's own aliases are a
copy for its pages and for other tools: moving one by hand changes nothing here, and the next move mends it.
"""

import json
import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace

from mlflow import MlflowClient
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException

from ..errors import RegistryError
from .contract import PRODUCTION, STAGING, Move
from .mlflow import database
from .moves import lost

DESCRIPTION = "Who moved which alias, when and why. Written by lifecycle: do not edit."
TEXTS = ("action", "alias", "version", "previous", "by", "at", "reason")
MORE = ("manifest_sha256", "id")
NOWHERE = "lifecycle:/note"  # of a note: MLflow wants an address, and a server takes none of its own schemes
KNOWN = "alias."  # a tag on the history's model for each alias that was ever moved
PAGE = 100
ATTEMPTS = 8
Find = Callable[[str], ModelVersion | None]


@contextmanager
def clear_errors(uri: str) -> Iterator[None]:
    """Turn what MLflow raises into a RegistryError that says what to check."""
    try:
        yield
    except (MlflowException, OSError) as error:
        told = str(error.message if isinstance(error, MlflowException) else error).strip()
        advice = "check MLFLOW_TRACKING_URI, and that the server is up"
        if "code 401" in told or "code 403" in told:
            advice = "check MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD"
        elif database(uri):
            advice = "check that the disk has room and that you may write there"
        raise RegistryError(f"MLflow at {uri}: {told.splitlines()[0][:300]}", advice) from error


class History:
    """The moves of one model's aliases, or its notes; find gives MLflow's entry of a version."""

    def __init__(self, client: MlflowClient, name: str, find: Find, kind: str = "history") -> None:
        self._client, self._name, self._find = client, name, find
        self.model = f"{name}.{kind}"

    def all(self) -> list[Move]:
        """Return the moves that took effect, the oldest first."""
        last: dict[str, int] = {}
        done = []
        for move in sorted(self._newest_first(), key=lambda move: move.number):
            if move.base == last.get(move.alias, 0):
                last[move.alias] = move.number
                done.append(move)
        return done

    def heads(self) -> list[Move]:
        """Return the last move of each alias."""
        known = {STAGING, PRODUCTION}
        with suppress(MlflowException):  # nothing was published yet
            tags = self._client.get_registered_model(self.model).tags
            known |= {tag.removeprefix(KNOWN) for tag in tags if tag.startswith(KNOWN)}
        return [head for alias in sorted(known) if (head := self.last(alias))]

    def last(self, alias: str) -> Move | None:
        """Return an alias's last move, from its newest entries: however long the history is."""
        newest = next(self._newest_first(alias), None)
        return self._since(alias, newest.base)[-1] if newest else None

    def _since(self, alias: str, base: int) -> list[Move]:
        """Return the moves that took effect after the move `base`, which did."""
        later = []
        for move in self._newest_first(alias):
            if move.number <= base:
                break
            later.append(move)
        done = []
        for move in reversed(later):
            if move.base == base:
                base = move.number
                done.append(move)
        return done

    def _newest_first(self, alias: str = "") -> Iterator[Move]:
        """Yield every move that was written, those that lost a race among them."""
        query = f"name = '{self.model}'" + (f" and tags.alias = '{alias}'" if alias else "")
        token = None
        while token != "":
            page = self._client.search_model_versions(query, PAGE, ["version_number DESC"], token)
            for item in page:
                texts = {key: item.tags.get(key, "") for key in TEXTS + MORE}
                undo = tuple(json.loads(item.tags.get("undo", "[]")))
                yield Move(int(item.version), **texts, base=int(item.tags["base"]), undo=undo)
            token = page.token or ""

    def append(self, move: Move, stored: ModelVersion | None) -> Move:
        """Write a move to a version, or a note; Conflict when another was first."""
        if not move.base:
            with suppress(MlflowException):  # it is there already
                self._client.create_registered_model(self.model, description=DESCRIPTION)
            self._client.set_registered_model_tag(self.model, KNOWN + move.alias, "")
        tags = {key: getattr(move, key) for key in TEXTS + MORE}
        tags |= {"base": str(move.base), "undo": json.dumps(move.undo)}
        source, run = (str(stored.source), stored.run_id) if stored else (NOWHERE, None)
        create_version(self._client, self.model, source, tags, run)
        done = self._since(move.alias, move.base)
        # By its id rather than its number: an answer that got lost makes the client write it twice.
        ours = next((item for item in done if item.id == move.id), None)
        if ours is None:
            raise lost(move, done[-1] if done else None)
        return replace(move, number=ours.number)

    def show_in_mlflow(self, alias: str) -> None:
        """Point MLflow's own aliases at what the history says: this one, and the two that every model has."""
        for name in (alias, *{STAGING, PRODUCTION} - {alias}):
            shown = None
            with suppress(MlflowException):  # it has no such alias yet
                shown = self._client.get_model_version_by_alias(self._name, name).version
            if (head := self.last(name)) and (stored := self._find(head.version)) and stored.version != shown:
                # The public method reads every version first, to see whether the model is a prompt.
                below = self._client._get_registry_client()
                below.set_registered_model_alias(self._name, name, stored.version)


def create_version(
    client: MlflowClient, name: str, source: str, tags: dict[str, str], run: str | None
) -> str:
    """Create a model version and return its number, also when others are creating versions at the moment."""
    for attempt in range(ATTEMPTS):
        try:
            return client.create_model_version(name, source, run, tags=tags).version
        except MlflowException as error:
            if "Giving up" not in error.message or attempt == ATTEMPTS - 1:
                raise
            time.sleep(random.uniform(0, 0.1 * 2**attempt))
    raise AssertionError("the loop returns or raises")
