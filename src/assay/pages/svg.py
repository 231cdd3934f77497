"""Figures as inline SVG: the element, words in it, and axes with round numbers.

Colours and type come from the page's style sheet.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from assay.pages.escaping import text


def svg(width: float, height: float, title: str, parts: Iterable[str]) -> str:
    """A figure that is read out as its title."""
    return (
        f'<svg viewBox="0 0 {width:.0f} {height:.0f}" role="img" aria-label="{text(title)}">'
        f"<title>{text(title)}</title>{''.join(parts)}</svg>"
    )


def label(x: float, y: float, words: str, anchor: str, kind: str = "") -> str:
    """Words at a place; `anchor` is start, middle or end."""
    marked = f' class="{kind}"' if kind else ""
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"{marked}>{text(words)}</text>'


def line(x1: float, y1: float, x2: float, y2: float, kind: str) -> str:
    """A straight line."""
    return f'<line class="{kind}" x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"/>'


@dataclass(frozen=True, slots=True)
class Axis:
    """Values from `low` to `high` as places from `start` to `end`, with its round numbers."""

    low: float
    high: float
    start: float
    end: float
    name: str
    ticks: tuple[float, ...]

    def __call__(self, value: float) -> float:
        """The place of a value; what is outside stands at the edge."""
        within = min(max(value, self.low), self.high)
        return self.start + (within - self.low) / (self.high - self.low) * (self.end - self.start)


def axis(
    low: float,
    high: float,
    start: float,
    end: float,
    name: str,
    *,
    snug: bool = False,
    whole: bool = False,
) -> Axis:
    """An axis with about five round numbers.

    Args:
        low: the least value.
        high: the greatest.
        start: place of the least.
        end: place of the greatest.
        name: what it is an axis of, with its unit.
        snug: the axis ends at `low` and `high`, not at round numbers around them.
        whole: its numbers are whole.
    """
    if not high > low:
        low, high = low - 0.5 * (abs(low) or 1), high + 0.5 * (abs(high) or 1)
    step = max(round_step((high - low) / 5), 1.0 if whole else 0.0)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    ticks = [number * step for number in range(first, last + 1)]
    if snug:
        slack = 1e-9 * (high - low)
        ticks = [tick for tick in ticks if low - slack <= tick <= high + slack]
    else:
        low, high = ticks[0], ticks[-1]
    return Axis(low, high, start, end, name, tuple(ticks))


def round_step(least: float) -> float:
    """1, 2 or 5 times a power of ten, not below a number."""
    power = 10.0 ** math.floor(math.log10(least))
    return next(
        (power * digit for digit in (1, 2, 5) if power * digit >= least * (1 - 1e-9)), 10 * power
    )


def number(value: float) -> str:
    """A number of an axis, with a minus sign."""
    shown = f"{value:.10g}" if abs(value) < 1e4 or value % 1000 else f"{value / 1000:.10g}k"
    if 0 < abs(value) < 1e-3:
        shown = f"{value:.2g}".replace("e-0", "e-")
    return shown.replace("-", "−")


def frame(x: Axis, y: Axis) -> list[str]:
    """Grid, numbers and names of both axes."""
    parts = []
    for tick in y.ticks:
        parts.append(line(x.start, y(tick), x.end, y(tick), "grid"))
        parts.append(label(x.start - 7, y(tick) + 4, number(tick), "end"))
    for tick in x.ticks:
        parts.append(line(x(tick), y.start, x(tick), y.start + 4, "half"))
        parts.append(label(x(tick), y.start + 18, number(tick), "middle"))
    parts.append(line(x.start, y.start, x.end, y.start, "half"))
    parts.append(label((x.start + x.end) / 2, y.start + 36, x.name, "middle", "name"))
    parts.append(label(2, y.end - 15, y.name, "start", "name"))
    return parts


def path(points: Sequence[tuple[float, float]], kind: str) -> str:
    """A line through points."""
    drawn = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    return f'<polyline class="{kind}" points="{drawn}"/>'
