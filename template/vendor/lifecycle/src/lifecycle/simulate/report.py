"""The replayed months for people: lines, a row of a table, and one picture (plain SVG) of all."""

from html import escape
from typing import Any

from .loop import DAYS, FAULT_DAY, Month

HEAD = ("month", f"fault from day {FAULT_DAY}", "found first", "reaction", "after", "retrainings", "alerts")
ACROSS, WIDTH, HEIGHT = 2, 470, 150
LEFT, TOP, RIGHT, BOTTOM = 44, 42, 30, 30  # of a panel, around its axes
TOP_KS = 0.5
COLOURS = {"retrain": "#1e5abe", "alert": "#a06900", "roll back": "#c8322d", "held back": "#787c82"}
GREY, SHADE = "stroke='#787c82'", "fill='#f0e3d0'"
STYLE = "font-family='DejaVu Sans, Helvetica, Arial, sans-serif' font-size='11' fill='#282c34'"


def lines(number: int, month: Month) -> str:
    """Return the name of a month, and a line for each of its alerts that reports something new."""
    new = {(event.found, event.did): event for event in reversed(month.events) if event.alert}
    alerts = [f"    day {e.day:4.1f}  {e.found}: {e.did}: {e.why}"[:110] for e in reversed(new.values())]
    return "\n".join([f"✓ month {number}: {month.fault.name}, {month.checks:,} checks", *alerts])


def row(number: int, month: Month) -> tuple[Any, ...]:
    """Return the row of a month under HEAD. after: hours from the fault to the first reaction."""
    found, did, after = "", "nothing", ""
    if first := month.first:
        found, did, after = first.found, first.did, f"{(first.day - FAULT_DAY) * 24:.0f} h"
    return number, month.fault.name, found, did, after, month.retrained, month.alerts


def draw(months: list[Month], threshold: float, minutes: float, rows: float) -> str:
    """Return the SVG. threshold: of the KS distance; minutes: between two checks; rows: an hour."""
    width, height = ACROSS * WIDTH, -(-len(months) // ACROSS) * HEIGHT + 62
    title = f"How the system reacts: a check every {minutes:g} minutes, {rows:g} requests an hour"
    legend = f"largest KS distance; dashed: its threshold, {threshold:g}; shaded: the fault"
    parts = [
        f"<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 {width} {height}' width='{width}' {STYLE}>",
        f"<rect width='{width}' height='{height}' fill='#fafaf8'/>",
        f"<text x='14' y='22' font-size='14' font-weight='bold'>{title}</text>",
        f"<text x='14' y='42'>{legend}</text>",
    ]
    for x, name in ((490, "retrain"), (570, "alert"), (650, "roll back")):
        parts.append(f"<circle cx='{x}' cy='38' r='5' fill='{COLOURS[name]}'/>")
        parts.append(f"<text x='{x + 9}' y='42'>{name}</text>")
    for number, month in enumerate(months):
        x, y = number % ACROSS * WIDTH, number // ACROSS * HEIGHT + 52
        parts += [f"<g transform='translate({x} {y})'>", *_panel(number, month, threshold), "</g>"]
    return "\n".join([*parts, "</svg>", ""])


def _panel(number: int, month: Month, threshold: float) -> list[str]:
    wide, high = WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM

    def x(day: float) -> float:
        return round(LEFT + day / DAYS * wide, 1)

    def y(ks: float) -> float:
        return round(TOP + high - min(ks, TOP_KS) / TOP_KS * high, 1)

    _, _, found, did, after, _, alerts = row(number, month)
    summary = f"{did} after {after} ({found})" if found else f"{month.checks:,} checks, no reaction"
    parts = [
        f"<text x='{LEFT}' y='14' font-weight='bold'>{escape(f'{number + 1}. {month.fault.name}')}</text>",
        f"<text x='{LEFT}' y='28' fill='#5a5f68'>{escape(f'{summary}, {alerts} alerts')}</text>",
    ]
    if month.fault.kind:
        size = f"width='{x(DAYS) - x(FAULT_DAY)}' height='{high}'"
        parts.append(f"<rect x='{x(FAULT_DAY)}' y='{TOP}' {size} {SHADE}/>")
    curve = " ".join(f"{x(day)},{y(ks)}" for day, ks in month.ks[:: max(1, len(month.ks) // 240)])
    dash = f"{GREY} stroke-dasharray='4 3'"
    parts += [
        f"<line x1='{LEFT}' x2='{x(DAYS)}' y1='{y(0)}' y2='{y(0)}' {GREY}/>",
        f"<line x1='{LEFT}' x2='{x(DAYS)}' y1='{y(threshold)}' y2='{y(threshold)}' {dash}/>",
        f"<polyline points='{curve}' fill='none' stroke='#28823c' stroke-width='1.5'/>",
        *(f"<text x='{LEFT - 6}' y='{y(v) + 4}' text-anchor='end'>{v:g}</text>" for v in (0, TOP_KS)),
        *(f"<text x='{x(d)}' y='{y(0) + 14}' text-anchor='middle'>day {d}</text>" for d in (0, 10, 20, 30)),
    ]
    first = {event.did: event for event in reversed(month.events) if event.did in COLOURS}
    places = [(x(event.day), COLOURS[did]) for did, event in first.items()]
    return parts + [f"<circle cx='{day}' cy='{y(0)}' r='5' fill='{colour}'/>" for day, colour in places]
