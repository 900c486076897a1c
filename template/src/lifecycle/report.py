"""report: what evaluate found, as Markdown that GitHub and GitLab show with a chart."""

import json
from typing import Any

import click

from .errors import LifecycleError
from .project import METRICS


@click.command()
def report() -> None:
    """Print what evaluate found as Markdown: beside a naive model's and the live model's error."""
    if not METRICS.is_file():
        raise LifecycleError(f"{METRICS} is not here", "run: make retrain")
    facts = json.loads(METRICS.read_text(encoding="utf-8"))
    click.echo(f"{sentence(facts)}\n\n| figure | value |\n| --- | --- |")
    for key, value in facts.items():
        if isinstance(value, dict):
            continue  # of each class: for programs
        click.echo(f"| {key} | {f'{value:.4g}' if isinstance(value, float) else value} |")
    click.echo(f"\n```mermaid\n{chart(facts)}\n```")


def sentence(facts: dict[str, Any]) -> str:
    """Return the comparison in words."""
    error = facts["error"]
    said = f"**{facts['metric']} {error:.4g}** on {facts['rows']:,} rows that nobody trained on: "
    said += f"{_difference(error, facts['baseline'])} than a naive model"
    if "live" in facts:
        said += f", {_difference(error, facts['live'])} than the live model ({facts['live_version']})"
    return f"{said}."


def _difference(error: float, other: float) -> str:
    share = (other - error) / other if other else 0.0
    return f"{abs(share):.1%} {'better' if share >= 0 else 'worse'}"


def chart(facts: dict[str, Any]) -> str:
    """Return the errors as bars, in Mermaid's words; less is better."""
    bars = {"naive": facts["baseline"], "live": facts.get("live"), "candidate": facts["error"]}
    known = {name: value for name, value in bars.items() if value is not None}
    top = max(known.values()) * 1.1
    return "\n".join(
        (
            "xychart-beta horizontal",
            f'  title "{facts["metric"]} on the hold-out (less is better)"',
            f"  x-axis [{', '.join(known)}]",
            f'  y-axis "{facts["metric"]}" 0 --> {top:.4g}',
            f"  bar [{', '.join(f'{value:.4g}' for value in known.values())}]",
        )
    )
