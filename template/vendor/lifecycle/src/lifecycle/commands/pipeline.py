"""Commands that run the functions of your pipeline.py, and the report on what evaluate has measured."""

import json
import time
from functools import partial
from types import FunctionType
from typing import Any

import click

from .. import console
from ..errors import LifecycleError
from ..model.package import MANIFEST
from ..project import Project


def _run(name: str) -> None:
    """Run the function NAME of your pipeline.py: a step of your own, or one of the five."""
    project = Project.find()
    module = project.load("pipeline")
    found = {key: item for key, item in vars(module).items() if isinstance(item, FunctionType)}
    steps = [key for key, item in found.items() if item.__module__ == module.__name__]
    if name not in steps:
        raise LifecycleError(f"{module.__file__} has no function {name}", f"it has: {', '.join(steps)}")
    start = time.perf_counter()
    line = project.run(name)
    console.done(f"{name:9} {line}", f"  {time.perf_counter() - start:.1f} s")


run = click.Command("run", callback=_run, params=[click.Argument(["name"])], help=_run.__doc__)
ingest, validate, train, evaluate, register = (
    click.Command(name, callback=partial(_run, name))
    for name in ("ingest", "validate", "train", "evaluate", "register")
)


@click.command()
def report() -> None:
    """Print what evaluate found, as Markdown that GitHub and GitLab show with a chart."""
    project = Project.find()
    if not project.metrics.is_file():
        raise LifecycleError(f"{project.metrics} is not here", "run: make retrain")
    facts = json.loads(project.metrics.read_text(encoding="utf-8"))
    if not (project.candidate / MANIFEST).is_file():
        click.echo("**The gate rejected this candidate**: `uv run lifecycle evaluate` says why.\n")
    click.echo(f"{_comparison(facts)}\n\n| figure | value |\n| --- | --- |")
    for key, value in facts.items():
        if not isinstance(value, dict):  # precision and recall of each class are for programs
            click.echo(f"| {key} | {f'{value:.4g}' if isinstance(value, float) else value} |")
    click.echo(f"\n```mermaid\n{_chart(facts)}\n```")


def _comparison(facts: dict[str, Any]) -> str:
    others, better = {"a naive model": facts["baseline"]}, []
    if "live" in facts:
        others[f"the live model ({facts['live_version']})"] = facts["live"]
    for name, other in others.items():
        share = (other - facts["error"]) / other if other else 0.0
        better.append(f"{abs(share):.1%} {'better' if share >= 0 else 'worse'} than {name}")
    rows = f"{facts['rows']:,} rows that nobody trained on"
    return f"**{facts['metric']} {facts['error']:.4g}** on {rows}: {', '.join(better)}."


def _chart(facts: dict[str, Any]) -> str:
    """Return the errors as a bar chart in Mermaid's language; less is better."""
    errors = {"naive": facts["baseline"], "live": facts.get("live"), "candidate": facts["error"]}
    known = {name: value for name, value in errors.items() if value is not None}
    return f"""xychart-beta horizontal
  title "{facts["metric"]} on the hold-out (less is better)"
  x-axis [{", ".join(known)}]
  y-axis "{facts["metric"]}" 0 --> {max(known.values()) * 1.1:.4g}
  bar [{", ".join(f"{value:.4g}" for value in known.values())}]"""
