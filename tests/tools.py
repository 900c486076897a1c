"""The commands that requirements/*.txt put beside this Python: tests call these, not those on the PATH."""

import subprocess
import sys
from pathlib import Path

BIN = Path(sys.executable).parent
UV, KUBECTL = str(BIN / "uv"), str(BIN / "kubectl")


def uv_cache() -> str:
    """Return the folder of uv's cache, for commands whose HOME is another."""
    return subprocess.run([UV, "cache", "dir"], capture_output=True, text=True, check=True).stdout.strip()
