"""Commands on what became of the predictions: labels that came later, and how good the model is by them."""

import json
import sys
from pathlib import Path

import click

from . import errors, project, settings
from .errors import DRIFT, INSUFFICIENT_DATA, LifecycleError
from .live import COLOUR, NOTHING_LIVE
from .monitoring import anomalies
from .monitoring import labels as kept
from .monitoring import performance as measured
from .registry.contract import live_model
from .serving.predictor import Predictor

EXIT = {"same": 0, "worse": DRIFT, "insufficient data": INSUFFICIENT_DATA}
SHADE = COLOUR | {"same": "green"}
file = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.command()
@click.argument("source", type=file, metavar="FILE")
def labels(source: Path) -> None:
    """Take labels that came later: Parquet or CSV with the columns id and label."""
    folder, params = live_model(), settings.load()
    if folder is None:
        raise LifecycleError(*NOTHING_LIVE)
    model = Predictor(folder)
    frame = kept.load(source, model.schema)
    kept.keep(frame, project.LABELS)
    made = measured.joined(project.WINDOWS / model.version, project.LABELS, params.performance.window_hours)
    new = made[made["id"].isin(frame["id"])]
    odd = anomalies.residuals(new, model, project.WINDOWS / model.version, params.anomalies)
    errors.done(
        f"{len(frame):,} labels kept; {len(new):,} are of predictions by {model.version}",
        f"; {odd:,} far from them, in the anomaly log" if odd else "",
    )


@click.command()
@click.argument("source", required=False, type=file, metavar="[FILE]")
@click.option("--json", "as_json", is_flag=True, help="For programs.")
def performance(source: Path | None, as_json: bool) -> None:
    """Compare the error of what was served, by its labels, with the error at the gate.

    Or that of the rows of a Parquet FILE, which holds the target too: then also with the version before.
    Exit code: 0 same, 2 worse, 3 insufficient data.
    """
    verdict = measured.look(source)
    if as_json:
        click.echo(json.dumps(verdict.to_dict()))
    else:
        _show(verdict)
    sys.exit(EXIT[verdict.verdict])


def _show(verdict: measured.PerformanceVerdict) -> None:
    if verdict.value is not None:
        click.echo(
            f"{verdict.rows:,} labelled rows: {verdict.metric} {verdict.value:.4g}, "
            f"with 95 % confidence from {verdict.low:.4g} to {verdict.high:.4g}\n"
        )
    rows = [
        (w.week, w.label, w.figure, w.rows, f"{w.value:.3f}", f"{w.expected:.3f}", "dropped" * w.dropped)
        for w in verdict.weeks
    ]
    if rows:
        click.echo(errors.table(("week", "class", "figure", "rows", "now", "at the gate", ""), rows) + "\n")
    word = click.style(verdict.verdict, fg=SHADE.get(verdict.verdict, "red"), bold=True)
    click.echo(f"{word}: {verdict.why}")
