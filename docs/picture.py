"""Draw docs/demo.svg from what `make demo` prints: python docs/picture.py < demo.log

make demo > demo.log && .venv/bin/python docs/picture.py < demo.log
"""

import io
import re
import sys
from pathlib import Path

from rich.console import Console
from rich.terminal_theme import TerminalTheme
from rich.text import Text

WIDTH = 110
HOME = re.compile(r"/\S*/(?=deliveries)")
THEME = TerminalTheme(
    (250, 250, 248),
    (40, 44, 52),
    [
        (40, 44, 52),
        (200, 50, 45),
        (40, 130, 60),
        (160, 105, 0),
        (30, 90, 190),
        (150, 60, 150),
        (0, 120, 130),
        (120, 124, 130),
    ],
)


def main() -> None:
    """Read the demo's output from standard input and write docs/demo.svg, with no font from elsewhere."""
    console = Console(record=True, width=WIDTH, file=io.StringIO(), force_terminal=True)
    for line in sys.stdin.read().splitlines():
        if not line.startswith("make") and "pip" not in line:
            console.print(Text.from_ansi(HOME.sub("demo/", line)), soft_wrap=False)
    svg = console.export_svg(title="make demo", theme=THEME)
    svg = re.sub(r"@font-face \{.*?\}\n", "", svg, flags=re.S)
    svg = svg.replace("Fira Code", "DejaVu Sans Mono, Menlo, Consolas")
    Path(__file__).with_name("demo.svg").write_text(svg)


if __name__ == "__main__":
    main()
