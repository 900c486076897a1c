"""A drift check as one HTML page on its own: a plot for each feature that moved, and a table of all."""

import os
import subprocess
from datetime import UTC, datetime
from html import escape
from pathlib import Path

import numpy as np

from ..project import Project
from ..tools import uv
from .drift import Feature, Verdict, groups
from .histogram import Histogram
from .profile import Profile

WIDTH, HEIGHT, TOP, FOOT, MOST = 640, 190, 14, 30, 10  # pixels; and the most pairs of bars in a plot
STYLE = """
:root { color-scheme: light dark; --back: #fff; --ink: #1c2330; --dim: #667085; --line: #d9dee7;
  --training: #98a2b3; --served: #d9480f; --good: #2b8a3e; --bad: #c92a2a; --odd: #b45309 }
@media (prefers-color-scheme: dark) { :root { --back: #14181f; --ink: #e6e9ef; --dim: #98a2b3;
  --line: #323a48; --training: #667085; --served: #ff8c42; --good: #69db7c; --bad: #ff8787; --odd: #ffc078 } }
body { background: var(--back); color: var(--ink); font: 15px/1.5 system-ui, sans-serif;
  max-width: 62rem; margin: 2rem auto; padding: 0 1rem }
h1 { font-size: 1.4rem } h2 { font-size: 1.05rem; margin: 2rem 0 .25rem }
.good { color: var(--good) } .bad { color: var(--bad) } .odd { color: var(--odd) } .dim { color: var(--dim) }
.wide { overflow-x: auto }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums }
th, td { text-align: right; padding: .3rem .6rem; border-bottom: 1px solid var(--line); white-space: nowrap }
th:first-child, td:first-child, th:last-child, td:last-child { text-align: left }
th { color: var(--dim); font-weight: 500 } svg { width: 100%; max-width: 44rem; height: auto }
text { fill: var(--dim); font-size: 11px } .training { fill: var(--training) } .served { fill: var(--served) }
.key::before { content: "■ "; color: var(--training) } .key.served::before { color: var(--served) }
"""
HEAD = ("feature", "PSI", "KS", "p", "missing", "in training", "new", "outside", "importance", "")
SHADE = {"no drift": "good", "insufficient data": "odd"}


def page(
    project_name: str, verdict: Verdict, reference: Profile, current: Profile, version: str, source: str
) -> str:
    """Return the page. version: whose profile the reference is; source: what was compared with it."""
    moved = [feature for feature in verdict.features if feature.drifted or feature.fault]
    plots = [_section(f, reference.features[f.name], current.features[f.name]) for f in moved]
    about = f"{source}: {verdict.rows:,} rows, {verdict.rejected:,} refused; training: {version}"
    rows = "".join(f"<tr>{_cells('td', row_of(feature))}</tr>" for feature in verdict.features)
    return f"""<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>{escape(f"{project_name}: {verdict.verdict}")}</title><style>{STYLE}</style>
<h1>{escape(project_name)}: <span class="{SHADE.get(verdict.verdict, "bad")}">{verdict.verdict}</span></h1>
<p>{escape(verdict.why)}</p>
<p class="dim">{escape(about)}; {datetime.now(UTC):%Y-%m-%d %H:%M} UTC</p>
{"".join(plots)}
<h2>All features</h2><div class="wide"><table><tr>{_cells("th", HEAD)}</tr>{rows}</table></div>
</html>
"""


def row_of(feature: Feature) -> tuple[str, ...]:
    """Return a feature's line of the table, as HEAD names its columns."""
    state = feature.fault or ("drifted" if feature.drifted else "")
    state = state if feature.matters or feature.fault else f"{state} (matters little)".strip()
    moved = f"{feature.psi:.3f}", f"{feature.ks:.3f}", f"{feature.p_value:.1e}"
    shares = feature.missing, feature.missing_before, feature.new, feature.outside
    importance = "" if feature.importance is None else f"{feature.importance:.3f}"
    return feature.name, *moved, *(f"{share:.1%}" for share in shares), importance, state


def _cells(tag: str, texts: tuple[str, ...]) -> str:
    return "".join(f"<{tag}>{escape(text)}</{tag}>" for text in texts)


def _section(feature: Feature, training: Histogram, served: Histogram) -> str:
    facts = feature.fault or f"PSI {feature.psi:.2f}, KS {feature.ks:.2f}, p {feature.p_value:.0e}"
    keys = '<span class="key">training</span> &nbsp; <span class="key served">served</span>'
    plot = _plot(feature.name, *_shares(training, served))
    return f"<h2>{escape(feature.name)}</h2><p class='dim'>{escape(facts)} &nbsp; {keys}</p>{plot}"


def _shares(training: Histogram, served: Histogram) -> tuple[list[str], np.ndarray]:
    """Return labels and [2, labels] shares: tenths of training for a number, the largest names else."""
    counts = np.array([training["counts"], served["counts"]], dtype=float)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    if "names" in training:
        chosen = np.argsort(-shares.max(axis=0), kind="stable")[:MOST]
        chosen = chosen[shares.sum(axis=0)[chosen] > 0]
        return [str(training["names"][i]) for i in chosen], shares[:, chosen]
    group = groups(counts[0])
    used = np.unique(group)
    ends = [training["edges"][np.flatnonzero(group == one)[-1]] for one in used[:-1]]
    labels = [*(f"≤ {end:.4g}" for end in ends), f"> {ends[-1]:.4g}" if ends else ""]
    return labels, np.array([np.bincount(group, row)[used] for row in shares])


def _plot(name: str, labels: list[str], shares: np.ndarray) -> str:
    """Draw two bars for each label."""
    most = shares.max(initial=0.0) or 1.0
    step, room, parts = WIDTH / max(len(labels), 1), HEIGHT - TOP - FOOT, []
    for i, label in enumerate(labels):
        for share, kind, shift in zip(shares[:, i], ("training", "served"), (0.12, 0.5), strict=True):
            height, x = room * share / most, (i + shift) * step
            top, middle = TOP + room - height, f'x="{x + step * 0.18:.1f}" text-anchor="middle"'
            parts.append(
                f'<rect class="{kind}" x="{x:.1f}" y="{top:.1f}" width="{step * 0.36:.1f}" '
                f'height="{height:.1f}"><title>{escape(label)}: {share:.1%}</title></rect>'
            )
            parts.append(f'<text {middle} y="{top - 3:.1f}">{share:.0%}</text>' if share >= 0.005 else "")
        short = label if len(label) <= 10 else label[:9] + "…"
        under = f'x="{(i + 0.5) * step:.1f}" y="{HEIGHT - 10}" text-anchor="middle"'
        parts.append(f"<text {under}>{escape(short)}</text>")
    box = f'viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(name)}: training and served"'
    return f'<svg xmlns="http://www.w3.org/2000/svg" {box}>{"".join(parts)}</svg>'


def run_evidently(project: Project, source: Path, page: Path) -> int:
    """Write Evidently's page on a file and the training data, by evidently_page.py; return its exit code."""
    given = [source, project.valid, project.candidate / "schema.json", page]
    script = ["run", "--quiet", "--script", str(Path(__file__).with_name("evidently_page.py"))]
    env = os.environ | {"DO_NOT_TRACK": "1", "PYTHONSAFEPATH": "1"}
    return subprocess.run([uv(project), *script, *map(str, given)], env=env, check=False).returncode
