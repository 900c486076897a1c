"""Finds uv, which Lambda's package and `lifecycle update` call."""

import os
import shutil

from .errors import LifecycleError


def uv() -> str:
    """Return the command that runs uv: what UV names, else the project's own, else the machine's.

    `uv run` sets UV, and `make setup` installs the project's own where there is none. The Makefile and the
    scripts look in the same order. Raises LifecycleError when it is not there.
    """
    named = os.environ.get("UV")
    found = shutil.which(named) if named else shutil.which(".tools/bin/uv") or shutil.which("uv")
    if found:
        return found
    if named:
        raise LifecycleError(f"UV names {named}, which is not here", "unset UV, then: make setup")
    raise LifecycleError("uv is neither in .tools/bin nor on the PATH", "make setup")
