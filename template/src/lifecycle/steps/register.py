"""register: publish the candidate that passed the gate, and point the alias staging at it."""

import getpass
import os
import subprocess

from .. import columns
from ..candidate import verify
from ..project import CANDIDATE, REGISTERED, write_text
from ..registry.contract import STAGING, open_registry


def run() -> str:
    """Publish artifacts/candidate and write artifacts/registered.json; a second run changes nothing."""
    registry = open_registry()
    version = registry.publish(CANDIDATE)
    registry.promote(version, STAGING, whoami(), "registered")
    facts = {"version": version, "metrics": verify(CANDIDATE).metrics}
    write_text(REGISTERED, columns.to_json(facts))
    return f"{version} is in the registry, with the alias {STAGING}"


def whoami() -> str:
    """Return who answers for a move: LIFECYCLE_BY, else git's user.name, else the account."""
    if named := os.environ.get("LIFECYCLE_BY"):
        return named
    done = subprocess.run(["git", "config", "user.name"], capture_output=True, text=True, check=False)
    return done.stdout.strip() or getpass.getuser()
