"""The project: its answers from pyproject.toml, and where things lie in it.

`Project.find()` finds it once, at the edge (a command, the server, Lambda's handler); then it is passed.
"""

import importlib.util
import os
import tomllib
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from .errors import SettingsError

VARIABLE = "LIFECYCLE_PROJECT"  # names the folder of the project, else the current one or one above it
CHOICES = {"package": (), "registry": ("mlflow", "s3"), "deploy": ("docker", "kubernetes", "lambda")}


class Place:
    """A file or folder of a project, by its path below the root."""

    def __init__(self, path: str, about: str) -> None:
        self.path, self.__doc__ = path, about

    def __get__(self, project: "Project", _owner: type) -> Path:
        return project.root / self.path


@dataclass(frozen=True)
class Project:
    """A rendered project, as its pyproject.toml describes it."""

    name: str  # of the model in the registry and of its images
    package: str  # the Python package with your own code
    registry: str  # an answer, as deploy is: see CHOICES
    deploy: str
    root: Path  # the folder of pyproject.toml

    params = Place("params.yaml", "Settings that you change.")
    artifacts = Place("artifacts", "What the steps and the server write.")
    raw = Place("artifacts/raw.parquet", "The data as `ingest` has read it.")
    valid = Place("artifacts/valid.parquet", "The data that `validate` has let through.")
    holdout = Place("artifacts/holdout.parquet", "Rows that `train` has kept for the gate, and predictions.")
    training = Place("artifacts/training.json", "What reproduces the training: written by `train`.")
    candidate = Place("artifacts/candidate", "Written by `train`, sealed by `evaluate`.")
    metrics = Place("artifacts/metrics.json", "What `evaluate` has measured.")
    served = Place("artifacts/served", "The version that `lifecycle serve` serves.")
    windows = Place("artifacts/windows", "What servers have counted and logged, a folder for each version.")
    labels = Place("artifacts/labels", "Labels that came later.")

    @classmethod
    def find(cls) -> "Project":
        """Return the project of LIFECYCLE_PROJECT, else the nearest one. Raises SettingsError if none."""
        if named := os.environ.get(VARIABLE):
            return cls.read(Path(named))
        for file in (folder / "pyproject.toml" for folder in (Path.cwd(), *Path.cwd().parents)):
            if file.is_file() and "[tool.lifecycle]" in file.read_text(encoding="utf-8"):
                return cls.read(Path(os.path.relpath(file.parent)))  # short paths in messages
        text = "this folder belongs to no project: there is no pyproject.toml with [tool.lifecycle]"
        raise SettingsError(text, "run the command from the project's root folder")

    @classmethod
    def read(cls, root: Path) -> "Project":
        """Read the project in a folder. Raises SettingsError that names the line of pyproject.toml."""
        file = root / "pyproject.toml"
        try:
            text = file.read_text(encoding="utf-8")
            whole = tomllib.loads(text)
            name, table = whole["project"]["name"], whole["tool"]["lifecycle"]
        except OSError as error:
            raise SettingsError(f"{file} cannot be read: {error.strerror}", f"check {VARIABLE}") from error
        except tomllib.TOMLDecodeError as error:
            raise SettingsError(f"{file} is not TOML: {error}", "fix that line") from error
        except KeyError as error:
            raise SettingsError(
                f"{file}: {error} is missing in [project] or [tool.lifecycle]", "add it"
            ) from error
        for key, value in table.items():
            where = f"{file}, line {_line(text, key)}"
            if key not in CHOICES:
                raise SettingsError(f"{where}: there is no key {key}", f"the keys are {', '.join(CHOICES)}")
            if not isinstance(value, str) or (CHOICES[key] and value not in CHOICES[key]):
                known = ", ".join(CHOICES[key]) or "a text"
                raise SettingsError(f"{where}: {key} is {value!r}", f"it can be {known}")
        if missing := sorted(CHOICES.keys() - table.keys()):
            raise SettingsError(f"{file}, [tool.lifecycle] has no {missing[0]}", f'add {missing[0]} = "…"')
        return cls(name=name, root=root, **table)

    def load(self, module: str) -> ModuleType:
        """Import a module of your package: data, schema, features, model or pipeline."""
        return importlib.import_module(f"{self.package}.{module}")

    @property
    def features(self) -> ModuleType:
        """Your features.py: NumPy only, so the server imports it too."""
        return self.load("features")

    def run(self, step: str) -> str:
        """Run a function of your pipeline.py, between the hooks for it, and return its line."""
        function = getattr(self.load("pipeline"), step)
        self.hook("before_step", step)
        line = function(self)
        self.hook("after_step", step)
        return line

    def hook(self, name: str, *given: Any) -> None:
        """Call a function of your package's hooks.py, where you have written one."""
        found = importlib.util.find_spec(f"{self.package}.hooks")
        if found and (function := getattr(self.load("hooks"), name, None)):
            function(*given)


def _line(text: str, key: str) -> int:
    """Return the line of a key in [tool.lifecycle], counted from 1; the table's own if it is not found."""
    keys = [line.partition("=")[0].strip(' "') for line in text.splitlines()]
    table = keys.index("[tool.lifecycle]") if "[tool.lifecycle]" in keys else 0
    return 1 + (keys.index(key, table) if key in keys[table:] else table)
