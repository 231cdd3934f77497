"""The figures of a run's steps: rewards with their quantiles, and what a policy may exploit."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from assay.pages.charts import HEIGHT, WIDTH, Curve, curves, horizontal, smoothed, thinned, vertical
from assay.pages.document import table
from assay.pages.svg import Axis, frame, line, path, svg
from assay.report.monitor_log import Step
from assay.report.parts import count, figure, figures, key, share, signed
from assay.serve.monitor.bins import Bins
from assay.serve.monitor.log import MIXED, SHARES

_NUMBERS = 25
"""Rows of the table behind the rewards."""
_SMOOTHED_OVER = 20
"""A curve is smoothed over one in so many of the steps."""


def figures_of(steps: Sequence[Step]) -> str:
    """All figures of a run; those that it has no numbers for are left out."""
    return figures(
        [
            _rewards(steps),
            _distributions(steps),
            _one(steps, "Length", "mean length", lambda s: s.length, low=0, note=_unit(steps)),
            _one(
                steps,
                "Reward against length",
                "correlation",
                lambda s: s.correlation,
                low=-1,
                high=1,
                note="Above 0, longer answers of a step get higher rewards.",
            ),
            _beyond(steps),
            _one(
                steps,
                "Distance from the reference",
                "standard deviations of the reference",
                lambda s: s.distance,
                low=0,
                note="From its mean to the mean reward of the step.",
            ),
            _one(
                steps,
                "Duplicates",
                "share of answers",
                lambda s: s.duplicate_share,
                low=0,
                note="Answers that equal an earlier one of their step.",
            ),
            _one(steps, "Spread", "standard deviation of rewards", lambda s: s.std, low=0),
        ]
    )


def _rewards(steps: Sequence[Step]) -> str:
    at = _at(steps)
    levels = [thinned([s.quantiles[place] for s in steps]) for place in range(len(SHARES))]
    mean = thinned([s.mean for s in steps])
    reference = steps[-1].reference
    values = [value for level in levels for value in level]
    if reference is not None:
        values += [reference.low, reference.high]
    x, y = _along(at), vertical(min(values), max(values), "reward")
    parts = frame(x, y)
    for kind, low, high in (("wide", 0, 4), ("narrow", 1, 3)):
        parts.append(_band(x, y, at, levels[low], levels[high], kind))
    if reference is not None:
        ends = map(y, (reference.low, reference.high))
        parts += [line(x.start, end, x.end, end, "equal") for end in ends]
    parts.append(path([(x(a), y(m)) for a, m in zip(at, mean, strict=True)], "curve c1"))
    if len(at) == 1:
        parts.append(f'<circle class="dot c1" cx="{x(at[0]):.1f}" cy="{y(mean[0]):.1f}" r="3.5"/>')
    says = f"Mean from {signed(steps[0].mean, 2)} to {signed(steps[-1].mean, 2)}."
    keys = key("line c1", "mean") + key("box band narrow", "middle half")
    keys += key("box band wide", "middle 90%")
    keys += key("dashes equal", "range of the reference") if reference is not None else ""
    title = "Rewards by step"
    drawn = svg(WIDTH, HEIGHT, f"{title}. {says}", parts)
    return figure(title, says, drawn, keys=keys, numbers=_numbers(steps))


def _band(
    x: Axis, y: Axis, at: Sequence[float], low: Sequence[float], high: Sequence[float], kind: str
) -> str:
    if len(at) == 1:
        return (
            f'<line class="bar {kind}" x1="{x(at[0]):.1f}" x2="{x(at[0]):.1f}" '
            f'y1="{y(low[0]):.1f}" y2="{y(high[0]):.1f}"/>'
        )
    there = [(x(a), y(value)) for a, value in zip(at, high, strict=True)]
    back = [(x(a), y(value)) for a, value in zip(at, low, strict=True)][::-1]
    drawn = "L".join(f"{left:.1f} {top:.1f}" for left, top in [*there, *back])
    return f'<path class="band {kind}" d="M{drawn}Z"/>'


def _distributions(steps: Sequence[Step]) -> str:
    """The rewards of the first fifth of the steps, and of the last."""
    fifth = max(1, len(steps) // 5)
    parts = [("first", steps[:fifth]), ("last", steps[-fifth:])][: min(2, len(steps))]
    told = [(name, of, _together(of)) for name, of in parts]
    width = max(bins.width for _, _, bins in told)
    drawn, keys = [], ""
    for number, (name, of, bins) in enumerate(told, start=1):
        wide = Bins(width, {}).merge(bins)
        places = range(min(wide.counts) - 1, max(wide.counts) + 2)
        centres = [(place + 0.5) * wide.width for place in places]
        shares = [wide.counts.get(place, 0) / wide.total for place in places]
        drawn.append(Curve(name, f"c{number}", centres, shares))
        steps_of = f"step {of[0].number}" if len(of) == 1 else f"{of[0].number} to {of[-1].number}"
        keys += key(f"line c{number}", f"{name} steps: {steps_of}")
    x = horizontal(min(c.x[0] for c in drawn), max(c.x[-1] for c in drawn), "reward", snug=True)
    y = vertical(0, max(max(c.y) for c in drawn), f"share, in bins of {width:g}")
    title = "Distribution of rewards"
    return figure(title, "In the beginning and at the end.", curves(title, x, y, drawn), keys=keys)


def _together(steps: Sequence[Step]) -> Bins:
    bins = steps[0].bins
    for step in steps[1:]:
        bins = bins.merge(step.bins)
    return bins


def _one(
    steps: Sequence[Step],
    title: str,
    unit: str,
    value: Callable[[Step], float | None],
    *,
    low: float | None = None,
    high: float | None = None,
    note: str = "",
) -> str:
    """A number by step, and smoothed where there are many steps."""
    values = [math.nan if (number := value(s)) is None else number for s in steps]
    finite = [number for number in values if math.isfinite(number)]
    if not finite:
        return ""
    window = max(1, len(steps) // _SMOOTHED_OVER)
    at = _at(steps)
    drawn = [Curve(title, "c1" if window == 1 else "c1 faint", at, thinned(values))]
    keys = ""
    if window > 1:
        drawn.append(Curve("smoothed", "c1", at, thinned(smoothed(values, window))))
        keys = key("line c1 faint", "each step") + key("line c1", f"mean of the last {window}")
    says = f"{note} From {signed(finite[0], 2)} to {signed(finite[-1], 2)}.".strip()
    ends = [*finite, *(end for end in (low, high) if end is not None)]
    y = vertical(min(ends), max(ends), unit)
    return figure(title, says, curves(f"{title} by step. {says}", _along(at), y, drawn), keys=keys)


def _beyond(steps: Sequence[Step]) -> str:
    if all(s.beyond is None for s in steps):
        return ""
    at = _at(steps)
    sides = {
        "above": [_share(s.above, s.responses) for s in steps],
        "below": [_share(s.below, s.responses) for s in steps],
    }
    drawn = [
        Curve(name, f"c{number}", at, thinned(values))
        for number, (name, values) in enumerate(sides.items(), start=1)
    ]
    keys = "".join(key(f"line {curve.kind}", f"{curve.name} the range") for curve in drawn)
    most = max(v for values in sides.values() for v in values if math.isfinite(v))
    title = "Rewards beyond the range of the reference"
    says = "The range holds 99% of the reference's rewards."
    y = vertical(0, max(most, 0.02), "share of rewards")
    return figure(title, says, curves(f"{title}. {says}", _along(at), y, drawn), keys=keys)


def _share(number: int | None, of: int) -> float:
    return math.nan if number is None else number / of


def _at(steps: Sequence[Step]) -> list[float]:
    return thinned([float(step.number or 0) for step in steps])


def _along(at: Sequence[float]) -> Axis:
    return horizontal(at[0], max(at[-1], at[0] + 1), "step", snug=True, whole=True)


def _unit(steps: Sequence[Step]) -> str:
    units = sorted({step.unit for step in steps})
    if MIXED in units:
        return "Steps whose lengths count several things are left out."
    return f"In {' or '.join(units)}."


def _numbers(steps: Sequence[Step]) -> str:
    picked = range(0, len(steps), max(1, math.ceil(len(steps) / _NUMBERS)))
    rows = []
    for place in sorted({*picked, len(steps) - 1}):
        s = steps[place]
        about = "" if s.lines == 1 else f" ({s.lines} lines)"
        rows.append(
            [
                f"{s.number}{about}",
                count(s.responses),
                signed(s.mean),
                signed(s.std),
                *(signed(value) for value in s.quantiles),
                signed(s.length, 1),
                signed(s.correlation),
                share(s.beyond),
                signed(s.distance, 2),
                share(s.duplicate_share),
            ]
        )
    columns = ["step", "answers", "mean", "std", *(f"{part:.0%}" for part in SHARES)]
    columns += ["length", "correlation", "beyond", "distance", "duplicates"]
    return table(columns, rows, "Numbers by step; of the rewards mean, std and quantiles", left=1)
