"""Where uv is: the one place that says so."""

import os
import shutil

from .errors import LifecycleError
from .project import Project


def uv(project: Project) -> str:
    """Return the path of uv: what UV names (`uv run` sets it), else the project's own, else the machine's.

    The Makefile and the scripts look in the same order. Raises LifecycleError when it is not there.
    """
    named = os.environ.get("UV")
    for place in (named,) if named else (str(project.root / ".tools/bin/uv"), "uv"):
        if found := shutil.which(place):
            return found
    if named:
        raise LifecycleError(f"UV names {named}, which is not here", "unset UV, then: make setup")
    raise LifecycleError("uv is neither in .tools/bin nor on the PATH", "make setup")
