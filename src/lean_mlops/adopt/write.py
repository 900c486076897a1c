"""Put the four files in the place of those that nobody has changed, and bring the data into the project."""

import filecmp
import hashlib
import re
import shutil
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import yaml

from lifecycle.project import ARTIFACTS, PARAMS, write_text

from .models import PARAMETERS
from .texts import SEAL

FILES = ("data.py", "schema.py", "features.py", "model.py")
EXAMPLES = {  # of the template's own four files, sha256 in short; an old one stays, for projects of then
    "ec6a6aa53c9e",
    "2b3c8e4f4416",
    "6c6828463d65",
    "e7629b0e2cc7",
    "48eea7c0078d",
    "d0d070a86948",
}
SEALED = re.compile(re.escape(SEAL).replace(r"\{\}", "([0-9a-f]{12})"))


def digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def seal(text: str) -> str:
    """Put a digest of the text, taken while there are zeros in its place, into its docstring."""
    return text.replace(SEAL.format("0" * 12), SEAL.format(digest(text)), 1)


def edited(path: Path) -> bool:
    """Say whether a file is neither the template's example nor as an earlier adopt wrote it."""
    if not path.exists():
        return False
    text = path.read_text(encoding="utf-8")
    sealed = SEALED.search(text)
    blank = text.replace(sealed[0], SEAL.format("0" * 12), 1) if sealed else ""
    as_written = bool(sealed) and digest(blank) == sealed[1]
    return not as_written and digest(text) not in EXAMPLES


def home(path: Path) -> tuple[Path, bool]:
    """Return where in the project the file will lie, and whether another file is in its place there."""
    if path.resolve().is_relative_to(Path.cwd()):
        return path.resolve().relative_to(Path.cwd()), False
    to = Path("data") / path.name
    return to, to.exists() and not filecmp.cmp(path, to, shallow=False)


def bring(path: Path, to: Path) -> None:
    """Copy a file whole or not at all."""
    to.parent.mkdir(parents=True, exist_ok=True)
    partial = to.with_name(to.name + ".partial")
    shutil.copyfile(path, partial)
    partial.replace(to)


def formatted(files: dict[str, str]) -> dict[str, str]:
    """Run ruff over the files in a scratch folder; without ruff (uv sync --no-dev) they stay as they are.

    A name of a column may be too long for a line or hold letters that ruff suspects: those get a noqa.
    """
    ARTIFACTS.mkdir(exist_ok=True)
    with TemporaryDirectory(dir=ARTIFACTS) as folder:
        for name, text in files.items():
            (Path(folder) / name).write_text(text, encoding="utf-8")
        for verb in (["format"], ["check", "--add-noqa"], ["format"]):
            command = [sys.executable, "-m", "ruff", *verb, "--quiet", "--no-cache", folder]
            subprocess.run(command, capture_output=True, check=False)
        return {name: (Path(folder) / name).read_text(encoding="utf-8") for name in files}


def write(folder: Path, files: dict[str, str], keep_old: bool) -> list[Path]:
    """Replace each file whole; return the copies (.bak) of edited ones, kept where keep_old is set.

    A run that was stopped in between leaves each file old or new, and the next run takes either.
    """
    copies = []
    for name, text in files.items():
        path = folder / name
        if keep_old and edited(path):
            copy = path.with_name(name + ".bak")
            shutil.copyfile(path, copy)
            copies.append(copy)
        write_text(path, seal(text))
    return copies


def new_params(estimator: str) -> tuple[str, bool]:
    """Return params.yaml with a model section that the estimator takes, and whether yours would be lost.

    Every other line stays as it is. Settings that the estimator may well take are left alone.
    """
    text = PARAMS.read_text(encoding="utf-8")
    section = (yaml.safe_load(text) or {}).get("model") or {}
    wanted = next(given for key, given in PARAMETERS.items() if estimator.startswith(key))
    known = [given.keys() for given in PARAMETERS.values() if given is not wanted]
    if section.keys() <= wanted.keys() or (estimator.startswith("Hist") and section.keys() not in known):
        return text, False
    lines = "".join(f"  {key}: {value}\n" for key, value in wanted.items())
    new = re.sub(r"^(model:.*\n)(?:[ \t]+\S.*\n?)*", lambda found: found[1] + lines, text, flags=re.MULTILINE)
    return new, section.keys() not in known
