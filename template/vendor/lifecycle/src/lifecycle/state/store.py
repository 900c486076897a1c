"""The state of the loop: short texts on what runs, what was checked and what was sent, shared by all who act.

Of two who change one at once, only one succeeds; a kill leaves the old text or the new one.
"""

import json
import os
from collections.abc import Callable
from typing import Any, TypeVar

from ..errors import RegistryError
from ..project import Project
from ..registry.objects import Folder, Store, open_store, registry_store

Read = TypeVar("Read")


class State:
    """Texts in a store, each under state/<name>."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def read(self, name: str) -> tuple[str, str]:
        """Return a text, and the tag to swap it by; two "" if there is none."""
        text, tag = self._store.read(f"state/{name}") or (b"", "")
        return text.decode(errors="replace"), tag

    def load(self, name: str, build: Callable[[Any], Read], empty: Read) -> tuple[Read, str]:
        """Return what `build` makes of a text's JSON, `empty` if there is none, and the tag to swap it by.

        Raises RegistryError if the text is damaged.
        """
        text, tag = self.read(name)
        try:
            return (build(json.loads(text)) if text else empty), tag
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            where = f"{self._store.place}/state/{name}"
            raise RegistryError(
                f"{where} is damaged: {error}", "remove it: the loop then starts anew"
            ) from error

    def swap(self, name: str, text: str, tag: str) -> bool:
        """Write a text; False if somebody changed it since its tag was read. An empty tag creates it."""
        return self._store.swap(f"state/{name}", text.encode(), tag)


def open_state(project: Project) -> State:
    """Open the state where all hosts that retrain or check the project share it.

    That is STATE_URI (s3://bucket/prefix or file:///path) if it is set, else the bucket of a Lambda's counts,
    else the registry's own store if that holds objects, else artifacts/ on this host.
    """
    if uri := os.environ.get("STATE_URI"):
        return State(open_store(uri, "STATE_URI"))
    if bucket := os.environ.get("WINDOWS_BUCKET"):
        return State(open_store(f"s3://{bucket}/{os.environ.get('WINDOWS_PREFIX', project.name)}"))
    return State(registry_store(project) if project.registry == "s3" else Folder(project.artifacts))
