"""Write template/vendor/lifecycle/DIGESTS, by which a project sees that its copy of the library was changed.

Usage: python scripts/digests.py [TEMPLATE]     (a folder that holds template/; else this repository)
"""

import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
LIBRARY = "template/vendor/lifecycle"
sys.path.insert(0, str(ROOT / LIBRARY / "src"))

from lifecycle.vendored import DIGESTS, digests  # noqa: E402


def text(folder: Path) -> str:
    """Return what DIGESTS must hold for the library in a folder: the form of sha256sum, sorted by path."""
    return "".join(f"{digest}  {name}\n" for name, digest in sorted(digests(folder).items()))


if __name__ == "__main__":
    library = Path(sys.argv[1] if len(sys.argv) > 1 else ROOT) / LIBRARY
    (library / DIGESTS).write_text(text(library), encoding="utf-8")
