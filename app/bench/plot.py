"""The plot: the latency of status polls over time, as SVG written by hand."""

from collections.abc import Iterable, Sequence
from html import escape
from math import ceil, floor, log10

from app.bench.stats import Bucket

WIDTH, HEIGHT = 900, 440
LEFT, RIGHT, TOP, BOTTOM = 70, 24, 64, 52
INK, FAINT, P50, P99, MAX, MARK = "#222222", "#dddddd", "#2b6cb0", "#c05621", "#9b2c2c", "#4a5568"
FONT = 'font-family="sans-serif" font-size="12"'
Mark = tuple[float, str]
"""Something that happened: when, and what it is called."""


class Axes:
    """Where a time (linear) and a latency (logarithmic) are on the page."""

    def __init__(self, seconds: float, lowest: float, highest: float) -> None:
        self.seconds = max(seconds, 0.1)
        self.decades = floor(log10(max(lowest, 0.01))), max(ceil(log10(max(highest, 0.1))), 0)

    def x(self, seconds: float) -> float:
        return LEFT + (WIDTH - LEFT - RIGHT) * min(max(seconds / self.seconds, 0.0), 1.0)

    def y(self, milliseconds: float) -> float:
        low, high = self.decades
        share = (log10(max(milliseconds, 10.0**low)) - low) / max(high - low, 1)
        return HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * min(share, 1.0)


def svg(title: str, timeline: Sequence[Bucket], marks: Sequence[Mark]) -> str:
    """Draw p50 and p99 as lines, each maximum as a dot, and what happened as dashed lines."""
    seconds = max([bucket["at"] + 0.1 for bucket in timeline] + [at for at, _ in marks], default=1.0)
    lowest = min((bucket["p50"] for bucket in timeline), default=1.0)
    highest = max((bucket["max"] for bucket in timeline), default=10.0)
    axes = Axes(seconds, lowest, highest)
    dots = [(axes.x(bucket["at"] + 0.05), axes.y(bucket["max"])) for bucket in timeline]
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}">',
        f"<title>{escape(title)}</title>",
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#ffffff"/>',
        text(LEFT, 22, title, size=15, anchor="start"),
        *grid(axes),
        *(mark(axes, number, at, label) for number, (at, label) in enumerate(marks)),
        line(P99, ((axes.x(bucket["at"] + 0.05), axes.y(bucket["p99"])) for bucket in timeline)),
        line(P50, ((axes.x(bucket["at"] + 0.05), axes.y(bucket["p50"])) for bucket in timeline)),
        *(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="2.2" fill="{MAX}" fill-opacity="0.8"/>' for x, y in dots),
        *legend(),
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


def grid(axes: Axes) -> Iterable[str]:
    """Draw the axes with their labels and the lines at each power of ten."""
    bottom, right = HEIGHT - BOTTOM, WIDTH - RIGHT
    for decade in range(axes.decades[0], axes.decades[1] + 1):
        y = axes.y(10.0**decade)
        yield stroke(LEFT, y, right, y, FAINT)
        yield text(LEFT - 8, y + 4, f"{10.0**decade:g}", anchor="end")
    step = tick_step(axes.seconds)
    for number in range(int(axes.seconds / step + 1e-9) + 1):
        x = axes.x(number * step)
        yield stroke(x, bottom, x, bottom + 5, INK)
        yield text(x, bottom + 20, f"{number * step:g}")
    yield stroke(LEFT, bottom, right, bottom, INK)
    yield stroke(LEFT, TOP, LEFT, bottom, INK)
    yield text((LEFT + right) / 2, HEIGHT - 10, "seconds since the burst began")
    middle = (TOP + bottom) / 2
    yield f'<g transform="rotate(-90 18 {middle:.1f})">{text(18, middle, "milliseconds (log)")}</g>'


def legend() -> Iterable[str]:
    x = WIDTH - RIGHT - 330
    for number, (colour, label) in enumerate([(P50, "p50 per 100 ms"), (P99, "p99 per 100 ms")]):
        yield stroke(x + number * 125, 40, x + number * 125 + 18, 40, colour, width=2)
        yield text(x + number * 125 + 24, 44, label, anchor="start")
    yield f'<circle cx="{x + 258}" cy="40" r="2.5" fill="{MAX}"/>'
    yield text(x + 268, 44, "max", anchor="start")


def mark(axes: Axes, number: int, at: float, label: str) -> str:
    """Draw something that happened; its label stands on the side where there is room, in rows that do not touch."""
    x, y = axes.x(at), TOP + 12 + 15 * (number % 3)
    late = x > (LEFT + WIDTH - RIGHT) / 2
    label_at = text(x - 5 if late else x + 5, y, label, anchor="end" if late else "start", colour=MARK)
    dashed = f'<line x1="{x:.1f}" y1="{TOP}" x2="{x:.1f}" y2="{HEIGHT - BOTTOM}" stroke="{MARK}" '
    return dashed + 'stroke-dasharray="4 3"/>' + label_at


def line(colour: str, points: Iterable[tuple[float, float]]) -> str:
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    return f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="1.6" stroke-linejoin="round"/>'


def stroke(x1: float, y1: float, x2: float, y2: float, colour: str, width: float = 1) -> str:
    where = f'x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"'
    return f'<line {where} stroke="{colour}" stroke-width="{width:g}"/>'


def text(x: float, y: float, content: str, anchor: str = "middle", size: int = 12, colour: str = INK) -> str:
    font = FONT.replace("12", str(size))
    return f'<text x="{x:.1f}" y="{y:.1f}" {font} text-anchor="{anchor}" fill="{colour}">{escape(content)}</text>'


def tick_step(seconds: float) -> float:
    """Return the distance of the ticks: a round number that gives at most a dozen of them."""
    return next((step for step in (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 60, 300) if seconds / step <= 12), 600)
