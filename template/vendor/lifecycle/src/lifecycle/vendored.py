"""Compares the library's source in vendor/lifecycle with DIGESTS, a list in the form of sha256sum.

By hand: cd vendor/lifecycle && sha256sum -c DIGESTS
"""

import hashlib
import subprocess
from pathlib import Path

from .errors import LifecycleError
from .project import Project

FOLDER, DIGESTS = "vendor/lifecycle", "DIGESTS"
CACHES = {"__pycache__", ".ruff_cache", ".pytest_cache", ".pyrefly_cache"}  # folders that tools write


def digests(folder: Path) -> dict[str, str]:
    """Return the SHA-256 of each file below a folder by its path there, without caches and DIGESTS itself."""
    names = sorted(path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    names = [name for name in names if name != Path(DIGESTS) and not CACHES.intersection(name.parts)]
    return {name.as_posix(): hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in names}


def check_vendored(project: Project) -> list[str]:
    """Return a line for each file of vendor/lifecycle that is edited, added, missing or ignored by git."""
    folder = project.root / FOLDER
    found, listed = digests(folder), folder / DIGESTS
    if not listed.is_file():
        return [f"missing: {FOLDER}/{DIGESTS}"] if found else []  # the library is a dependency
    lines = listed.read_text(encoding="utf-8").splitlines()
    came = {name: digest for digest, _, name in (line.partition("  ") for line in lines)}
    try:
        ignored = git(folder, "check-ignore", "-z", "--stdin", text="\0".join(found)).split("\0")[:-1]
    except (subprocess.CalledProcessError, FileNotFoundError):  # none is ignored; no repository; no git
        ignored = []
    faults = dict.fromkeys(ignored, "ignored by git")
    faults |= {name: "edited" if name in came else "added" for name in found if found[name] != came.get(name)}
    faults |= dict.fromkeys(came.keys() - found.keys(), "missing")
    return [f"{what}: {FOLDER}/{name}" for name, what in sorted(faults.items())]


def refuse_changes(project: Project) -> None:
    """Raise LifecycleError if vendor/lifecycle is not as it came: an update would lose what was changed."""
    if faults := check_vendored(project):
        shown = faults[:12] + [f"and {len(faults) - 12} more"] * (len(faults) > 12)
        came = f"$(git log -1 --format=%h --diff-filter=AM -- {FOLDER}/{DIGESTS})"
        text = f"{FOLDER} is not as it came, and an update would lose the change:\n  " + "\n  ".join(shown)
        way = f"git checkout {came} -- {FOLDER}; remove what is added; git add --force what git ignores."
        raise LifecycleError(text, f"{way} A fix belongs upstream, or in src/{project.package}/hooks.py")


def git(folder: Path, *words: str, text: str = "") -> str:
    """Run git in a folder, and return what it prints. Raises CalledProcessError, or FileNotFoundError."""
    done = subprocess.run(["git", *words], input=text, cwd=folder, capture_output=True, text=True, check=True)
    return done.stdout
