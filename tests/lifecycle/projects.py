"""Makes small projects from the template's own files, without Copier and in this process."""

import itertools
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import jinja2
import pandas as pd
from lifecycle.project import Project

TEMPLATE = Path(__file__).parents[2] / "template"
PACKAGE = TEMPLATE / "src/{{ package }}"
STEPS = ("ingest", "validate", "train", "evaluate", "register")
ROWS = 2000
PARAMS = """\
split:
  holdout: 0.2
model:
  max_iter: 40
gate:
  max_latency_ms: 1000
"""
LOCK = """\
[[package]]
name = "numpy"
version = "2.4.0"

[[package]]
name = "lean-mlops-lifecycle"
version = "0.1.0"
"""
numbers = itertools.count()


def make_project(root: Path, task: str) -> Project:
    """Write the template's package, settings and newest rows into a folder."""
    package = f"shop{next(numbers)}"
    source = root / "src" / package
    source.mkdir(parents=True)
    for path in PACKAGE.iterdir():
        if path.suffix in (".py", ".jinja"):
            text = jinja2.Template(path.read_text(), keep_trailing_newline=True).render(task=task)
            (source / path.name.removesuffix(".jinja")).write_text(text)
    rows = pd.read_parquet(TEMPLATE / "data/deliveries.parquet").sort_values("ordered_at").tail(ROWS)
    (root / "data").mkdir()
    rows.reset_index(drop=True).to_parquet(root / "data/deliveries.parquet", index=False)
    (root / "params.yaml").write_text(PARAMS)
    (root / "uv.lock").write_text(LOCK)
    return _named(Project("shop", package, "s3", "docker", root))


def copy_project(project: Project, root: Path) -> Project:
    """Copy a project, artifacts and registry included; its package gets a name of its own to import it by."""
    shutil.copytree(project.root, root, ignore=shutil.ignore_patterns("__pycache__"))
    copy = replace(project, package=f"shop{next(numbers)}", root=root)
    (root / "src" / project.package).rename(root / "src" / copy.package)
    return _named(copy)


def _named(project: Project) -> Project:
    lines = [f'{key} = "{getattr(project, key)}"' for key in ("package", "registry", "deploy")]
    head = f'[project]\nname = "{project.name}"\n\n[tool.lifecycle]\n'
    (project.root / "pyproject.toml").write_text(head + "\n".join(lines) + "\n")
    sys.path.insert(0, str(project.root / "src"))
    return project


def run(project: Project, *steps: str) -> str:
    """Run functions of pipeline.py; return the line of the last."""
    pipeline = project.load("pipeline")
    return [getattr(pipeline, step)(project) for step in steps][-1]
