"""Commands for drift, labels that came later, and measured performance."""

import json
import sys
from dataclasses import asdict
from pathlib import Path

import click

from .. import console, files, settings
from ..automation import checks
from ..monitoring import drift as drifting
from ..monitoring import performance as measured
from ..monitoring import report
from ..monitoring.profile import Profile
from ..project import Project

COLOUR = {"no drift": "green", "same": "green", "insufficient data": "yellow"}
existing = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.command()
@click.argument("source", required=False, type=existing, metavar="[FILE]")
@console.json_option
@click.option("--html", type=click.Path(dir_okay=False, path_type=Path), help="A page with plots, to here.")
def drift(source: Path | None, as_json: bool, html: Path | None) -> None:
    """Compare what was served of late, or a Parquet FILE, with what production was trained on.

    Exit code: 0 no drift, 2 drift, 3 insufficient data, 4 broken data.
    """
    project, name = Project.find(), str(source or "served")
    if source:
        from .. import batch  # needs an extra that a check of what was served does without

        model, thresholds = measured.live_model(project), settings.load(project).drift
        reference, version = Profile.read(model.folder), model.version
        current = batch.count(source, model, reference, project.load("schema"))
        verdict = drifting.judge(reference, current, 0, thresholds)
    else:
        verdict, version, reference, current = checks.examine(project)
    if as_json:
        click.echo(json.dumps(asdict(verdict) | {"version": version}))
    else:
        click.echo(f"{name}: {verdict.rows:,} rows against the training data of {version}\n")
        rows = [report.row_of(feature) for feature in verdict.features]
        _show(report.HEAD, rows, verdict.verdict, verdict.why)
    if html:
        files.write_text(html, report.page(project.name, verdict, reference, current, version, name))
        click.echo(f"the page with plots: {html}", err=True)
    sys.exit(verdict.exit_code)


@click.command()
@click.argument("source", type=existing, metavar="FILE")
@click.option("--html", type=click.Path(path_type=Path), help="The page; default: artifacts/evidently.html")
def evidently(source: Path, html: Path | None) -> None:
    """Plot and test every column of a Parquet FILE with Evidently, beside the data that was trained on.

    uv runs Evidently in an environment of its own: 0.6 GB, and about a minute.
    """
    project = Project.find()
    sys.exit(report.run_evidently(project, source, html or project.artifacts / "evidently.html"))


@click.command()
@click.argument("source", type=existing, metavar="FILE")
def labels(source: Path) -> None:
    """Take labels that came later: Parquet or CSV with the columns id and label."""
    console.done(measured.take_labels(Project.find(), source))


@click.command()
@click.argument("source", required=False, type=existing, metavar="[FILE]")
@console.json_option
def performance(source: Path | None, as_json: bool) -> None:
    """Compare the error of what was served, by its labels, with the error at the gate.

    With a Parquet FILE that holds the target: the error of its rows, also with that of the version before.
    Exit code: 0 same, 2 worse, 3 insufficient data.
    """
    verdict = measured.check(Project.find(), source)
    if as_json:
        click.echo(json.dumps(asdict(verdict)))
        sys.exit(verdict.exit_code)
    if verdict.value is not None:
        sure = f"with 95 % confidence from {verdict.low:.4g} to {verdict.high:.4g}"
        click.echo(f"{verdict.rows:,} labelled rows: {verdict.metric} {verdict.value:.4g}, {sure}\n")
    head = ("week", "class", "figure", "rows", "served", "at the gate", "")
    rows = [
        (w.week, w.label, w.figure, w.rows, f"{w.value:.3f}", f"{w.expected:.3f}", "dropped" * w.dropped)
        for w in verdict.weeks
    ]
    _show(head, rows, verdict.verdict, verdict.why)
    sys.exit(verdict.exit_code)


def _show(head: tuple[str, ...], rows: list, word: str, why: str) -> None:
    if rows:
        click.echo(console.table(head, rows) + "\n")
    click.echo(f"{click.style(word, fg=COLOUR.get(word, 'red'), bold=True)}: {why}")
