"""A drift check as one HTML page on its own: a plot for each feature that moved, and a table of all."""

from datetime import UTC, datetime
from html import escape

import numpy as np

from ..project import NAME
from . import bins
from .drift import Feature, Verdict
from .measures import groups
from .profile import Profile

WIDTH, HEIGHT, TOP, FOOT, MOST = 640, 190, 14, 30, 10  # pixels; and the most bars a plot has
STYLE = """
:root { color-scheme: light dark; --back: #fff; --ink: #1c2330; --dim: #667085; --line: #d9dee7;
  --before: #98a2b3; --now: #d9480f; --good: #2b8a3e; --bad: #c92a2a; --odd: #b45309 }
@media (prefers-color-scheme: dark) { :root { --back: #14181f; --ink: #e6e9ef; --dim: #98a2b3;
  --line: #323a48; --before: #667085; --now: #ff8c42; --good: #69db7c; --bad: #ff8787; --odd: #ffc078 } }
body { background: var(--back); color: var(--ink); font: 15px/1.5 system-ui, sans-serif;
  max-width: 62rem; margin: 2rem auto; padding: 0 1rem }
h1 { font-size: 1.4rem } h2 { font-size: 1.05rem; margin: 2rem 0 .25rem }
.good { color: var(--good) } .bad { color: var(--bad) } .odd { color: var(--odd) } .dim { color: var(--dim) }
.wide { overflow-x: auto }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums }
th, td { text-align: right; padding: .3rem .6rem; border-bottom: 1px solid var(--line); white-space: nowrap }
th:first-child, td:first-child, th:last-child, td:last-child { text-align: left }
th { color: var(--dim); font-weight: 500 } svg { width: 100%; max-width: 44rem; height: auto }
text { fill: var(--dim); font-size: 11px } .before { fill: var(--before) } .now { fill: var(--now) }
.key::before { content: "■ "; color: var(--before) } .key.served::before { color: var(--now) }
"""
HEAD = ("feature", "PSI", "KS", "p", "missing", "before", "new", "outside", "importance", "")
SHADE = {"no drift": "good", "insufficient data": "odd"}


def page(verdict: Verdict, reference: Profile, current: Profile, version: str, source: str) -> str:
    """Return the page; source says what was checked."""
    moved = [feature for feature in verdict.features if feature.drifted or feature.fault]
    plots = [_section(feature, reference, current) for feature in moved]
    title = f"{NAME}: {verdict.verdict}"
    about = f"{source}: {verdict.rows:,} rows, {verdict.rejected:,} refused; training: {version}"
    rows = "".join(f"<tr>{_cells('td', row_of(feature))}</tr>" for feature in verdict.features)
    return f"""<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>{escape(title)}</title><style>{STYLE}</style>
<h1>{escape(NAME)}: <span class="{SHADE.get(verdict.verdict, "bad")}">{verdict.verdict}</span></h1>
<p>{escape(verdict.why)}</p>
<p class="dim">{escape(about)}; {datetime.now(UTC):%Y-%m-%d %H:%M} UTC</p>
{"".join(plots)}
<h2>All features</h2><div class="wide"><table><tr>{_cells("th", HEAD)}</tr>{rows}</table></div>
</html>
"""


def row_of(feature: Feature) -> tuple[str, ...]:
    """Return a feature's line of the table, as HEAD names its columns."""
    state = feature.fault or ("drifted" if feature.drifted else "")
    weight = "" if feature.importance is None else f"{feature.importance:.3f}"
    return (
        feature.name,
        f"{feature.psi:.3f}",
        f"{feature.ks:.3f}",
        f"{feature.p_value:.1e}",
        f"{feature.missing:.1%}",
        f"{feature.missing_before:.1%}",
        f"{feature.new:.1%}",
        f"{feature.outside:.1%}",
        weight,
        state if feature.matters or feature.fault else f"{state} (matters little)".strip(),
    )


def _cells(tag: str, texts: tuple[str, ...]) -> str:
    return "".join(f"<{tag}>{escape(text)}</{tag}>" for text in texts)


def _section(feature: Feature, reference: Profile, current: Profile) -> str:
    said = feature.fault or f"PSI {feature.psi:.2f}, KS {feature.ks:.2f}, p {feature.p_value:.0e}"
    keys = '<span class="key">training</span> &nbsp; <span class="key served">now</span>'
    labels, before, now = _bars(reference.features[feature.name], current.features[feature.name])
    heading = f"<h2>{escape(feature.name)}</h2><p class='dim'>{escape(said)} &nbsp; {keys}</p>"
    return heading + _plot(feature.name, labels, before, now)


def _bars(before: bins.Feature, now: bins.Feature) -> tuple[list[str], np.ndarray, np.ndarray]:
    """Return labels and shares: tenths of training for a number, the largest names for a category."""
    old, new = np.array(before["counts"], dtype=float), np.array(now["counts"], dtype=float)
    if "names" in before:
        old, new = old / max(old.sum(), 1), new / max(new.sum(), 1)
        chosen = np.argsort(-np.maximum(old, new), kind="stable")[:MOST]
        chosen = chosen[(old + new)[chosen] > 0]
        return [str(before["names"][i]) for i in chosen], old[chosen], new[chosen]
    group = groups(old)
    used = np.unique(group)
    ends = [before["edges"][np.flatnonzero(group == one)[-1]] for one in used[:-1]]
    labels = (
        [f"≤ {ends[0]:.4g}", *(f"≤ {end:.4g}" for end in ends[1:]), f"> {ends[-1]:.4g}"] if ends else [""]
    )
    shares = [np.bincount(group, counts)[used] / max(counts.sum(), 1) for counts in (old, new)]
    return labels, shares[0], shares[1]


def _plot(name: str, labels: list[str], before: np.ndarray, now: np.ndarray) -> str:
    """Draw two bars for each label."""
    most = max([*before, *now], default=0.0) or 1.0
    step, room = WIDTH / max(len(labels), 1), HEIGHT - TOP - FOOT
    parts = []
    for i, label in enumerate(labels):
        for share, kind, shift in ((before[i], "before", 0.12), (now[i], "now", 0.5)):
            height, x = room * share / most, (i + shift) * step
            parts.append(
                f'<rect class="{kind}" x="{x:.1f}" y="{TOP + room - height:.1f}" width="{step * 0.36:.1f}" '
                f'height="{height:.1f}"><title>{escape(label)}: {share:.1%}</title></rect>'
            )
            tip = f'x="{x + step * 0.18:.1f}" y="{TOP + room - height - 3:.1f}" text-anchor="middle"'
            parts.append(f"<text {tip}>{share:.0%}</text>" if share >= 0.005 else "")
        short = label if len(label) <= 10 else label[:9] + "…"
        under = f'x="{(i + 0.5) * step:.1f}" y="{HEIGHT - 10}" text-anchor="middle"'
        parts.append(f"<text {under}>{escape(short)}</text>")
    box = f'viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(name)}: training and now"'
    return f'<svg xmlns="http://www.w3.org/2000/svg" {box}>{"".join(parts)}</svg>'
