"""Tools that a project needs once: they stay in the template it was rendered from, and it stays lean."""

import subprocess
import sys
from importlib import import_module
from pathlib import Path

import click
import yaml

from .errors import LifecycleError
from .paths import fresh_folder

ANSWERS = Path(".copier-answers.yml")
FETCHED = Path(".tools/template")
SHORT = {"gh:": "https://github.com/", "gl:": "https://gitlab.com/", "git+": ""}  # as Copier reads them


def tool(name: str) -> click.Command:
    """Return a command of the template, at the commit that this project was rendered from."""
    root = _checkout()
    sys.path.insert(0, str(root / "src"))
    return getattr(import_module(f"lean_mlops.{name}.command"), name)


def _checkout() -> Path:
    """Return a folder with the template; it is fetched the first time."""
    if not ANSWERS.is_file():
        raise LifecycleError(f"{ANSWERS} is not here", "run the command from the project's root folder")
    answers = yaml.safe_load(ANSWERS.read_text(encoding="utf-8"))
    source, commit = str(answers["_src_path"]), str(answers.get("_commit", ""))
    local = Path(source).expanduser()
    fetched = FETCHED / (commit or "head")
    if fetched.is_dir():
        return fetched
    for short, whole in SHORT.items():
        if source.startswith(short):
            source = whole + source.removeprefix(short)
    try:
        with fresh_folder(fetched) as folder:
            _git("clone", "--quiet", source, str(folder))
            _git("-C", str(folder), "checkout", "--quiet", commit or "HEAD")
    except (subprocess.CalledProcessError, FileNotFoundError) as error:
        if local.is_dir():  # no repository, or rendered from changes that were never committed
            return local
        said = getattr(error, "stderr", "") or error
        raise LifecycleError(
            f"the template, which brings this command, cannot be fetched from {source}: {said}".strip(),
            f"check that you can reach it, or mend _src_path in {ANSWERS}",
        ) from error
    return fetched


def _git(*words: str) -> None:
    subprocess.run(["git", *words], check=True, capture_output=True, text=True)
