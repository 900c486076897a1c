"""Write into copier.yml which names a package may not have: what a project can import, and keywords.

PROJECT/.venv/bin/python scripts/names.py      the environment of a rendered project; names are only added
"""

import keyword
import re
import sys
import textwrap
from importlib.metadata import packages_distributions
from pathlib import Path

QUESTIONS = Path(__file__).parents[1] / "copier.yml"
OURS = ("lifecycle", "tests", "data", "src")
# Of some answers only.
ANSWERS = (
    *("airflow", "boto3", "botocore", "jmespath", "s3transfer"),
    *("lightgbm", "mlflow", "prefect", "xgboost"),
)
BLOCK = re.compile(
    r"(?<=^taken_names:\n  type: str\n  when: false\n  default: >-\n)(?:    .*\n)+", re.MULTILINE
)


def importable() -> set[str]:
    """Return the lower-case names that can be imported here, and Python's keywords."""
    names = {*OURS, *ANSWERS, *sys.stdlib_module_names, *keyword.kwlist, *packages_distributions()}
    return {name for name in names if re.fullmatch("[a-z][a-z0-9_]*", name)}


def listed(text: str) -> set[str]:
    """Return the names that copier.yml lists."""
    return set(re.findall(r"[a-z][a-z0-9_]*", BLOCK.findall(text)[0]))


def main() -> None:
    text = QUESTIONS.read_text(encoding="utf-8")
    lines = textwrap.wrap(" ".join(sorted(listed(text) | importable())), 110)
    block = "".join(f"    {line}\n" for line in lines)
    QUESTIONS.write_text(BLOCK.sub(lambda _: block, text), encoding="utf-8")


if __name__ == "__main__":
    main()
