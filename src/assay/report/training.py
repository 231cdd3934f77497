"""The curves of a training run."""

from __future__ import annotations

import math
from collections.abc import Sequence

from assay.pages.charts import Curve, curves, horizontal, smoothed, thinned, vertical
from assay.pages.document import table
from assay.report.parts import figure, figures, key, many, paragraph, section, share, signed, span
from assay.report.training_log import Evaluated, TrainingLog

_COLOURS = 6
_SMOOTHED_OVER = 20
"""A curve is smoothed over one in so many of the steps."""
_NUMBERS = 25
"""Rows of the table behind a curve."""


def training_section(log: TrainingLog) -> str:
    """Loss and accuracy of steps and of every evaluation set; learning rate and gradient."""
    if not log.steps and not log.evaluations:
        return ""
    at = [entry.step for entries in log.evaluations.values() for entry in entries]
    last = max([*log.steps, *at])
    drawn = [
        _both(log, last, "loss", "Loss", "log loss"),
        _both(log, last, "accuracy", "Accuracy", "share of comparisons won"),
        _margins(log, last),
        _alone(log, last, "learning_rate", "Learning rate", "learning rate"),
        _alone(log, last, "grad_norm", "Gradient before clipping", "norm"),
        _alone(log, last, "reward_mean", "Mean reward of the step's answers", "reward"),
    ]
    return section("training", "Training", [_said(log, last), figures(drawn)])


def _said(log: TrainingLog, last: int) -> str:
    if not log.evaluations:
        return paragraph(
            "No evaluation was logged. How to get one: name rows under data.eval, or keep some "
            "back with data.held_out; train.eval_steps evaluates on the way.",
            "absent",
        )
    if all(len(entries) == 1 for entries in log.evaluations.values()):
        return paragraph(
            "Evaluated at one step only. How to get curves of evaluations: train.eval_steps.",
            "absent",
        )
    return ""


def _both(log: TrainingLog, last: int, name: str, title: str, unit: str) -> str:
    """A number of the steps, and that of every evaluation set."""
    drawn, keys = _of_sets(log, name)
    if log.steps and any(map(math.isfinite, log.numbers[name])):
        drawn = [*_smooth(log, name), *drawn]
        window = _window(log)
        own = key(f"line c1{' faint' if window > 1 else ''}", "training, each step")
        own += key("line c1", f"mean of the last {many(window, 'step')}") if window > 1 else ""
        keys = own + keys
    if not drawn:
        return ""
    says = _what_it_says(log, name)
    return figure(
        title,
        says,
        _chart(f"{title} by step. {says}", last, unit, drawn, is_share=name == "accuracy"),
        keys=keys,
        numbers=_table(log, name, title),
    )


def _margins(log: TrainingLog, last: int) -> str:
    drawn, keys = _of_sets(log, "mean_margin", least=2)
    if not drawn:
        return ""
    title = "Mean margin"
    says = "Reward of the better answer minus that of the worse."
    return figure(title, says, _chart(f"{title} by step", last, "margin", drawn), keys=keys)


def _of_sets(log: TrainingLog, name: str, *, least: int = 1) -> tuple[list[Curve], str]:
    """A number of each evaluation set that has it at so many steps, and the legend of these."""
    drawn, keys = [], ""
    for number, (set_name, entries) in enumerate(log.evaluations.items()):
        told = _last_of_each_step([e for e in entries if e.metrics.get(name) is not None])
        if len(told) < least:
            continue
        kind = f"c{2 + number % (_COLOURS - 1)}"
        ends = [_ends(entry, name) for entry in told]
        values = [float(entry.metrics[name]) for entry in told]
        steps = [float(entry.step) for entry in told]
        drawn.append(Curve(set_name, kind, steps, values, ends, dots=len(told) <= 60))
        keys += key(f"dots {kind}", set_name)
    return drawn, keys


def _alone(log: TrainingLog, last: int, name: str, title: str, unit: str) -> str:
    values = [value for value in log.numbers[name] if math.isfinite(value)]
    if not values:
        return ""
    says = f"From {values[0]:.3g} to {values[-1]:.3g}, at most {max(values):.3g}.".replace("-", "−")
    steps = thinned(list(map(float, log.steps)))
    drawn = [Curve(title, "c1", steps, thinned(log.numbers[name]))]
    return figure(title, says, _chart(f"{title} by step. {says}", last, unit, drawn))


def _chart(
    title: str, last: int, unit: str, drawn: Sequence[Curve], *, is_share: bool = False
) -> str:
    values = [value for curve in drawn for value in curve.y if math.isfinite(value)]
    values += [end for curve in drawn for ends in curve.between if ends is not None for end in ends]
    first = min(at for curve in drawn for at in curve.x)
    low, high = min(values, default=0.0), max(values, default=1.0)
    if is_share:
        low, high = min(low, 0.5), 1.0
    elif low > 0 and low < 0.5 * high:
        low = 0.0
    x = horizontal(min(first, 1), max(last, first + 1), "step", snug=True, whole=True)
    return curves(title, x, vertical(low, high, unit), drawn)


def _smooth(log: TrainingLog, name: str) -> list[Curve]:
    steps = list(map(float, log.steps))
    raw = log.numbers[name]
    window = _window(log)
    if window == 1:
        return [Curve("each step", "c1", thinned(steps), thinned(raw))]
    each = Curve("each step", "c1 faint", thinned(steps), thinned(raw))
    return [each, Curve("smoothed", "c1", thinned(steps), thinned(smoothed(raw, window)))]


def _window(log: TrainingLog) -> int:
    return max(1, len(log.steps) // _SMOOTHED_OVER)


def _last_of_each_step(entries: Sequence[Evaluated]) -> list[Evaluated]:
    """By step; of several at one step the last, which is that of `model/`."""
    found = {entry.step: entry for entry in entries}
    return [found[step] for step in sorted(found)]


def _ends(entry: Evaluated, name: str) -> tuple[float, float] | None:
    ends = entry.metrics.get("accuracy_ci95") if name == "accuracy" else None
    return (float(ends[0]), float(ends[1])) if ends else None


def _what_it_says(log: TrainingLog, name: str) -> str:
    parts = []
    finite = [value for value in smoothed(log.numbers[name], _window(log)) if math.isfinite(value)]
    if finite:
        parts.append(f"Training from {share(finite[0])} to {share(finite[-1])}")
    for set_name, entries in log.evaluations.items():
        last = next((e for e in reversed(entries) if e.metrics.get(name) is not None), None)
        if last is not None:
            ends = _ends(last, name)
            between = f" ({span(ends)})" if ends else ""
            parts.append(f"{set_name} at the end {share(float(last.metrics[name]))}{between}")
    return "; ".join(parts) + "." if parts else ""


def _table(log: TrainingLog, name: str, title: str) -> str:
    rows: list[list[str]] = []
    picked = range(0, len(log.steps), max(1, math.ceil(len(log.steps) / _NUMBERS)))
    for place in sorted({*picked, len(log.steps) - 1} if log.steps else ()):
        value = log.numbers[name][place]
        shown = signed(value, 4) if math.isfinite(value) else "–"
        rows.append([str(log.steps[place]), "training", shown])
    for set_name, entries in log.evaluations.items():
        told = [e for e in entries if e.metrics.get(name) is not None]
        step = max(1, math.ceil(len(told) / _NUMBERS))
        rows += [[str(e.step), set_name, signed(float(e.metrics[name]), 4)] for e in told[::step]]
    return table(["step", "of", title.lower()], rows, f"{title} by step", left=0)
