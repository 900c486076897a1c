"""Adopts a data file: reads it, decides, and then writes the project's files or reports every fault."""

import filecmp
import hashlib
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import yaml

from .. import settings
from ..errors import DataError
from ..files import replacing, write_text
from ..project import Project
from . import plan as planning
from . import read
from .decide import PARAMS
from .plan import Options, Plan
from .refuse import Fault
from .render import BLANK, SEAL

FILES = ("data.py", "schema.py", "features.py", "model.py")
# Digests of the template's own four files for both tasks, which may be replaced; those of releases stay.
EXAMPLES = {"ec6a6aa53c9e", "2b3c8e4f4416", "6c6828463d65", "e7629b0e2cc7", "48eea7c0078d", "d0d070a86948"}
SEALED = re.compile(re.escape(SEAL).replace(r"\{\}", "([0-9a-f]{12})"))


def run(project: Project, file: Path, options: Options, force: bool = False) -> tuple[Plan, list[str]]:
    """Write the package's data, schema, features and model for a CSV or Parquet file.

    A file outside the project is copied into data/. Only the model section of params.yaml may change. A run
    that is stopped leaves each file either old or new, and the next run accepts both.

    Args: force: replace edited files, and keep copies of them as *.bak.
    Returns: the plan, and a line for each thing that was done besides the four files.
    Raises: DataError with every fault at once; then nothing was written.
    """
    settings.load(project)  # its errors name a line of params.yaml
    package, old = project.root / "src" / project.package, project.params.read_text(encoding="utf-8")
    root, path = project.root.resolve(), file.resolve()
    to = path.relative_to(root) if path.is_relative_to(root) else Path("data") / file.name
    at, plan = project.root / to, planning.make(read.read(file), to.as_posix(), options)
    new, replaced = new_params(old, plan.estimator) if plan.estimator else (old, False)
    if at.exists() and not at.samefile(file) and not filecmp.cmp(file, at, shallow=False):
        plan.faults.append(Fault(f"{at} is another file: rename yours"))
    edited = {str(package / name): package / name for name in FILES if is_edited(package / name)}
    edited |= {f"the model section of {project.params}": project.params} if replaced else {}
    if edited and not force:
        what = f"you have edited {', '.join(edited)}: --force replaces them and keeps copies as *.bak"
        plan.faults.append(Fault(what, ("--force",)))
    if plan.faults:
        raise _refusal(file, options, plan.faults, force)
    done = []
    if not at.exists():
        with replacing(at) as partial:
            shutil.copyfile(file, partial)
        done.append(f"{file} is copied to {at}")
    for path in edited.values():
        copy = path.with_name(path.name + ".bak")
        shutil.copyfile(path, copy)
        done.append(f"your edited file is kept as {copy}")
    for name, text in formatted(project, plan.files).items():
        sealed = text.replace(BLANK, SEAL.format(digest(text)), 1)  # taken while zeros stand in its place
        write_text(package / name, sealed)
    if new != old:
        write_text(project.params, new)
        done.append(f"{project.params}: the model section now holds what {plan.estimator} takes")
    return plan, done


def _refusal(file: Path, options: Options, faults: list[Fault], force: bool) -> DataError:
    """Return the error with every fault, and the one command that solves those for which an option exists."""
    solving = {fault.option: None for fault in faults if fault.option}  # each once, in their order
    words = [word for pair in options.columns() for word in pair]
    if options.task and not any(option[0] == "--task" for option in solving):
        words += ["--task", options.task]
    words += ["--drop-unlabelled"] * options.drop_unlabelled + ["--force"] * force
    words += [word for option in solving for word in option]
    command = shlex.join(["uv", "run", "lifecycle", "adopt", str(file), *words])
    if not all(fault.option for fault in faults):
        command = f"fix {'the rest' if solving else 'it'}, then: {command}"
    lines = "\n".join(f"  - {fault.what}" for fault in faults)
    return DataError(f"{file} is not adopted, and nothing was written:\n{lines}", command)


def digest(text: str) -> str:
    """Return the first 12 digits of a text's SHA-256."""
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def is_edited(path: Path) -> bool:
    """Return whether a file is neither the template's example nor as an earlier adopt wrote it."""
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    sealed = SEALED.search(text)
    as_written = sealed and digest(text.replace(sealed[0], BLANK, 1)) == sealed[1]
    return bool(text) and not as_written and digest(text) not in EXAMPLES


def formatted(project: Project, files: dict[str, str]) -> dict[str, str]:
    """Return the files as ruff formats them by the project's settings; unchanged where ruff is not installed.

    A column's name may be too long for a line or hold letters that ruff suspects: those lines get a noqa.
    """
    project.artifacts.mkdir(exist_ok=True)
    with TemporaryDirectory(dir=project.artifacts) as name:
        folder = Path(name).resolve()
        for file, text in files.items():
            (folder / file).write_text(text, encoding="utf-8")
        for verb in (["format"], ["check", "--add-noqa"], ["format"]):
            command = [sys.executable, "-m", "ruff", *verb, "--quiet", "--no-cache", str(folder)]
            subprocess.run(command, cwd=project.root, capture_output=True, check=False)
        return {file: (folder / file).read_text(encoding="utf-8") for file in files}


def new_params(text: str, estimator: str) -> tuple[str, bool]:
    """Return params.yaml with a model section that fits the estimator, and whether it replaces your own.

    Every other line stays as it is, and so do settings that the estimator may well accept.
    """
    section = (yaml.safe_load(text) or {}).get("model") or {}
    fitting = next(values for key, values in PARAMS.items() if estimator.startswith(key))
    others = [values.keys() for values in PARAMS.values() if values is not fitting]
    if section.keys() <= fitting.keys() or (estimator.startswith("Hist") and section.keys() not in others):
        return text, False
    lines = "".join(f"  {key}: {value}\n" for key, value in fitting.items())
    old = r"^model:[ \t]*(?:\{.*\})?(.*\n)(?:[ \t]+\S.*\n?)*"  # its comment stays
    new = re.sub(old, lambda found: f"model: {found[1].lstrip(' ')}{lines}", text, flags=re.MULTILINE)
    return new.replace("model: \n", "model:\n"), section.keys() not in others
