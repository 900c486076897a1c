"""The months as one picture: the largest KS distance, the fault, and what the loop did when. Plain SVG."""

from html import escape

from .loop import DAYS, FAULT_DAY, Month

ACROSS, WIDTH, HEIGHT = 2, 470, 150
LEFT, TOP, RIGHT, BOTTOM = 44, 42, 30, 30  # of a panel, around its axes
TOP_KS = 0.5
COLOURS = {"retrain": "#1e5abe", "alert": "#a06900", "roll back": "#c8322d", "held back": "#787c82"}
GREY, SHADE = "stroke='#787c82'", "fill='#f0e3d0'"
STYLE = "font-family='DejaVu Sans, Helvetica, Arial, sans-serif' font-size='11' fill='#282c34'"


def draw(months: list[Month], bar: float, title: str) -> str:
    """Return the SVG; bar: the KS distance that counts as an effect."""
    down = -(-len(months) // ACROSS)
    width, height = ACROSS * WIDTH, down * HEIGHT + 62
    parts = [
        f"<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 {width} {height}' width='{width}' {STYLE}>",
        f"<rect width='{width}' height='{height}' fill='#fafaf8'/>",
        f"<text x='14' y='22' font-size='14' font-weight='bold'>{escape(title)}</text>",
    ]
    parts += _legend(bar)
    for number, month in enumerate(months):
        x, y = number % ACROSS * WIDTH, number // ACROSS * HEIGHT + 52
        parts.append(f"<g transform='translate({x} {y})'>{''.join(_panel(number, month, bar))}</g>")
    return "\n".join([*parts, "</svg>", ""])


def _legend(bar: float) -> list[str]:
    parts, x = (
        [f"<text x='14' y='42'>largest KS distance; dashed: its bar, {bar:g}; shaded: the fault</text>"],
        455,
    )
    for name, colour in COLOURS.items():
        if name != "held back":
            parts.append(
                f"<circle cx='{x}' cy='38' r='5' fill='{colour}'/><text x='{x + 9}' y='42'>{name}</text>"
            )
            x += 80
    return parts


def _panel(number: int, month: Month, bar: float) -> list[str]:
    wide, high = WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM

    def x(day: float) -> float:
        return round(LEFT + day / DAYS * wide, 1)

    def y(ks: float) -> float:
        return round(TOP + high - min(ks, TOP_KS) / TOP_KS * high, 1)

    name = f"{number + 1}. {month.fault.name}"
    parts = [f"<text x='{LEFT}' y='14' font-weight='bold'>{escape(name)}</text>"]
    parts.append(f"<text x='{LEFT}' y='28' fill='#5a5f68'>{escape(summary(month))}</text>")
    if month.fault.kind:
        parts.append(
            f"<rect x='{x(FAULT_DAY)}' y='{TOP}' width='{x(DAYS) - x(FAULT_DAY)}' height='{high}' {SHADE}/>"
        )
    line = " ".join(f"{x(day)},{y(ks)}" for day, ks in month.ks[:: max(1, len(month.ks) // 240)])
    parts += [
        f"<line x1='{LEFT}' x2='{x(DAYS)}' y1='{y(0)}' y2='{y(0)}' {GREY}/>",
        f"<line x1='{LEFT}' x2='{x(DAYS)}' y1='{y(bar)}' y2='{y(bar)}' {GREY} stroke-dasharray='4 3'/>",
        f"<polyline points='{line}' fill='none' stroke='#28823c' stroke-width='1.5'/>",
        *(f"<text x='{LEFT - 6}' y='{y(v) + 4}' text-anchor='end'>{v:g}</text>" for v in (0, TOP_KS)),
        *(f"<text x='{x(d)}' y='{y(0) + 14}' text-anchor='middle'>day {d}</text>" for d in (0, 10, 20, 30)),
    ]
    done: set[str] = set()
    for event in month.events:
        if event.did in COLOURS and event.did not in done:
            done.add(event.did)
            parts.append(f"<circle cx='{x(event.day)}' cy='{y(0)}' r='5' fill='{COLOURS[event.did]}'/>")
    return parts


def summary(month: Month) -> str:
    """Say in a line what the loop did."""
    first = month.first
    if not first:
        return f"{month.checks:,} checks, no reaction, {month.alerts} alerts"
    after = (first.day - FAULT_DAY) * 24
    return f"{first.did} after {after:.0f} h ({first.found}), {month.alerts} alerts"
