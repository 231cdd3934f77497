"""Charts of numbers that a page shows: curves, a histogram, many points, reliability.

Shapes: N points.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from assay.pages.svg import Axis, axis, frame, line, path, round_step, svg

Floats = NDArray[np.float64]

WIDTH, HEIGHT = 440, 270
_LEFT, _RIGHT, _TOP, _BOTTOM = 52, 428, 30, 226
MOST_DOTS = 400
"""So many points are drawn one by one; more are counted in cells."""
_CELLS = 44
_BINS = 36
"""About so many bars."""
LEVELS = 5
"""Shades of cells."""


def horizontal(
    low: float, high: float, name: str, *, snug: bool = False, whole: bool = False
) -> Axis:
    """The axis at the foot of a chart."""
    return axis(low, high, _LEFT, _RIGHT, name, snug=snug, whole=whole)


def vertical(
    low: float, high: float, name: str, *, snug: bool = False, whole: bool = False
) -> Axis:
    """The axis at the left of a chart."""
    return axis(low, high, _BOTTOM, _TOP, name, snug=snug, whole=whole)


@dataclass(frozen=True, slots=True)
class Curve:
    """A curve: its name, its class in the style sheet, its points, and intervals of some."""

    name: str
    kind: str
    x: Sequence[float]
    y: Sequence[float]
    between: Sequence[tuple[float, float] | None] = ()
    dots: bool = False


def curves(title: str, x: Axis, y: Axis, drawn: Sequence[Curve]) -> str:
    """Curves over one axis; values that are not finite leave a gap."""
    parts = frame(x, y)
    for curve in drawn:
        parts += [
            line(x(at), y(ends[0]), x(at), y(ends[1]), f"span {curve.kind}")
            for at, ends in zip(curve.x, curve.between, strict=False)
            if ends is not None
        ]
        pairs = list(zip(curve.x, curve.y, strict=True))
        for piece in _unbroken(pairs):
            parts.append(path([(x(at), y(value)) for at, value in piece], f"curve {curve.kind}"))
        if curve.dots or len(pairs) == 1:
            parts += [
                f'<circle class="dot {curve.kind}" cx="{x(at):.1f}" cy="{y(value):.1f}" r="3.5"/>'
                for at, value in pairs
                if math.isfinite(value)
            ]
    return svg(WIDTH, HEIGHT, title, parts)


def _unbroken(pairs: Sequence[tuple[float, float]]) -> list[list[tuple[float, float]]]:
    pieces: list[list[tuple[float, float]]] = [[]]
    for pair in pairs:
        if math.isfinite(pair[1]):
            pieces[-1].append(pair)
        elif pieces[-1]:
            pieces.append([])
    return [piece for piece in pieces if len(piece) > 1]


def edges_around_zero(values: Floats) -> Floats:
    """Edges of bins of a round width, one of them 0; the outer 1% stand in the outer bins."""
    low, high = np.quantile(values, [0.005, 0.995]).tolist()
    low, high = min(low, 0.0), max(high, 0.0)
    width = round_step(max(high - low, 1e-9) / _BINS)
    first, last = math.floor(low / width), max(math.ceil(high / width), math.floor(low / width) + 1)
    return width * np.arange(first, last + 1)


def counted(values: Floats, edges: Floats) -> list[int]:
    """How many values each bin holds; the outer bins hold all beyond them, too."""
    place = np.clip(np.searchsorted(edges, values, side="right") - 1, 0, len(edges) - 2)
    return [int(count) for count in np.bincount(place, minlength=len(edges) - 1)]


def signed_histogram(title: str, name: str, edges: Floats, counts: Sequence[int]) -> str:
    """Bars left of 0 in one colour, those right of it in another."""
    x = horizontal(float(edges[0]), float(edges[-1]), name, snug=True)
    y = vertical(0, max(counts), "comparisons", whole=True)
    parts = frame(x, y)
    for low, high, count in zip(edges[:-1], edges[1:], counts, strict=True):
        if count:
            kind = "rejected" if high <= 1e-12 else "chosen"
            left, right = x(float(low)) + 0.5, x(float(high)) - 0.5
            parts.append(
                f'<rect class="{kind}" x="{left:.1f}" y="{y(count):.1f}" '
                f'width="{max(right - left, 0.5):.1f}" height="{y.start - y(count):.1f}"/>'
            )
    parts.append(line(x(0), y.start, x(0), y.end, "half"))
    return svg(WIDTH, HEIGHT, title, parts)


def cloud(
    title: str,
    x: Axis,
    y: Axis,
    points: tuple[Floats, Floats],
    *,
    over: Sequence[str] = (),
) -> tuple[str, list[tuple[int, int]]]:
    """Many points: each a dot where they are few, else cells shaded by how many they hold.

    Args:
        title: of the figure.
        x: axis.
        y: axis.
        points: x_N and y_N.
        over: drawn over them.

    Returns:
        the figure, and the least and greatest count of each shade; none of dots.
    """
    x_N, y_N = points
    parts = frame(x, y)
    if len(x_N) <= MOST_DOTS:
        parts += [
            f'<circle class="point" cx="{x(float(at)):.1f}" cy="{y(float(value)):.1f}" r="3"/>'
            for at, value in zip(x_N, y_N, strict=True)
        ]
        return svg(WIDTH, HEIGHT, title, [*parts, *over]), []
    column_N, row_N = _cells(x_N, x), _cells(y_N, y)
    count_RC = np.bincount(row_N * _CELLS + column_N, minlength=_CELLS**2).reshape(_CELLS, _CELLS)
    width, height = (x.end - x.start) / _CELLS, (y.start - y.end) / _CELLS
    shades = _shades(int(count_RC.max()))
    for level, (low, high) in enumerate(shades, start=1):
        rows, columns = np.nonzero((count_RC >= low) & (count_RC <= high))
        drawn = "".join(
            f"M{x.start + column * width:.1f} {y.start - (row + 1) * height:.1f}"
            f"h{width:.2f}v{height:.2f}h-{width:.2f}z"
            for row, column in zip(rows.tolist(), columns.tolist(), strict=True)
        )
        parts.append(f'<path class="shade-{level}" d="{drawn}"/>')
    return svg(WIDTH, HEIGHT, title, [*parts, *over]), shades


def _cells(values: Floats, along: Axis) -> NDArray[np.intp]:
    share = (values - along.low) / (along.high - along.low)
    cells: NDArray[np.intp] = np.clip((share * _CELLS).astype(np.intp), 0, _CELLS - 1)
    return cells


def _shades(most: int) -> list[tuple[int, int]]:
    """Up to `LEVELS` ranges of counts from 1 on, each a constant factor wider than the last."""
    ends = [round(most ** (level / LEVELS)) for level in range(1, LEVELS + 1)]
    found, low = [], 1
    for end in ends:
        if end >= low:
            found.append((low, end))
            low = end + 1
    return found


@dataclass(frozen=True, slots=True)
class Bin:
    """A bin of confidence: how sure, how often right, with its interval, of how many."""

    sure: float
    right: float
    between: tuple[float, float]
    count: int


def reliability(title: str, bins: Sequence[Bin], fitted: Sequence[Bin]) -> str:
    """How often right against how sure: on the diagonal, numbers mean what they say.

    Args:
        title: of the figure.
        bins: as the model says.
        fitted: with its temperature.
    """
    least = min([0.5, *(one.between[0] for one in bins), *(one.right for one in fitted)])
    x = horizontal(0.5, 1, "confidence: sigmoid of the margin's size", snug=True)
    y = vertical(least, 1, "share right")
    parts = frame(x, y)
    parts.append(line(x(0.5), y(0.5), x(1), y(1), "equal"))
    most = max(one.count for one in bins)
    for one in bins:
        height = 24 * one.count / most
        parts.append(
            f'<rect class="share" x="{x(one.sure) - 6:.1f}" y="{y.start - height:.1f}" '
            f'width="12" height="{height:.1f}"/>'
        )
    for one in fitted:
        parts.append(f'<circle class="ring" cx="{x(one.sure):.1f}" cy="{y(one.right):.1f}" r="4"/>')
    for one in bins:
        parts.append(line(x(one.sure), y(one.between[0]), x(one.sure), y(one.between[1]), "quiet"))
        parts.append(
            f'<circle class="quiet" cx="{x(one.sure):.1f}" cy="{y(one.right):.1f}" r="4.5"/>'
        )
    return svg(WIDTH, HEIGHT, title, parts)


def dot_in_cell(
    value: float | None, ends: Sequence[float] | None, low: float, high: float, mark: float | None
) -> str:
    """A dot with its interval in a cell of a table; the numbers stand beside it.

    Args:
        value: the dot; None draws none.
        ends: of the interval.
        low: the cell's left end.
        high: the cell's right end.
        mark: a value that all rows show as a line.
    """

    def at(number: float) -> str:
        return f"{min(max((number - low) / (high - low), 0), 1) * 100:.2f}%"

    parts = []
    if mark is not None:
        parts.append(f'<line class="half" x1="{at(mark)}" x2="{at(mark)}" y1="0" y2="20"/>')
    if ends is not None:
        parts.append(f'<line class="quiet" x1="{at(ends[0])}" x2="{at(ends[1])}" y1="10" y2="10"/>')
    if value is not None:
        parts.append(f'<circle class="quiet" cx="{at(value)}" cy="10" r="4"/>')
    return f'<svg class="cell" height="20" aria-hidden="true">{"".join(parts)}</svg>'


def thinned(values: Sequence[float], most: int = 300) -> list[float]:
    """At most so many values: means of as many runs of neighbours."""
    array = np.array(values, dtype=np.float64)
    if len(array) <= most:
        return [float(value) for value in array]
    with np.errstate(invalid="ignore"):
        return [float(part.mean()) for part in np.array_split(array, most)]


def smoothed(values: Sequence[float], window: int) -> list[float]:
    """The mean of each value and those before it, so many in all; only finite ones count."""
    array = np.array(values, dtype=np.float64)
    finite = np.isfinite(array)
    total = np.concatenate([[0.0], np.cumsum(np.where(finite, array, 0.0))])
    count = np.concatenate([[0], np.cumsum(finite)])
    last = np.arange(1, len(array) + 1)
    first = np.maximum(last - window, 0)
    seen = count[last] - count[first]
    sums = total[last] - total[first]
    return [float(s / n) if n else math.nan for s, n in zip(sums, seen, strict=True)]
