"""What in a run looks like gains without better answers: warnings, each with its threshold."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from statistics import fmean
from typing import NamedTuple

from assay.report.monitor_log import Step
from assay.report.parts import signed

WINDOW = 5
"""A number is judged by its mean over so many steps; the first so many are the beginning."""
CORRELATION = 0.5
BEYOND = 0.1
DISTANCE = 2.0
DUPLICATES = 0.1
SPREAD = 0.25
LONGER = 1.5
RISEN = 0.5
TRUNCATED = 0.05

THRESHOLDS = (
    ("reward against length", f"correlation of {CORRELATION} or more, or −{CORRELATION} or less"),
    ("beyond the range", f"{BEYOND:.0%} or more of the rewards; 1% is usual"),
    ("distance", f"{DISTANCE:g} standard deviations of the reference or more"),
    ("duplicates", f"{DUPLICATES:.0%} or more of the answers equal an earlier one of their step"),
    ("spread", f"standard deviation down to {SPREAD:g} of the beginning's or less"),
    (
        "growth",
        f"{LONGER:g} times the beginning's mean length or more, while the mean reward is up by "
        f"{RISEN:g} of its standard deviations",
    ),
    ("cut prompts", f"{TRUNCATED:.0%} or more"),
)
"""What is looked at, and from where on there is a warning."""


class _Stretch(NamedTuple):
    """Steps from one to another, whether the last step is among them, and the mean of a number."""

    first: int
    last: int
    goes_on: bool
    mean: float

    @property
    def when(self) -> str:
        return (
            f"since step {self.first}"
            if self.goes_on
            else f"from step {self.first} to step {self.last}"
        )


Value = Callable[[Step], float | None]


def warnings_of(steps: Sequence[Step]) -> list[str]:
    """What to look at, in plain words; nothing of fewer than `WINDOW` steps.

    Args:
        steps: of one run, by their number.
    """
    found = [
        _with_length(steps),
        _beyond(steps),
        _distance(steps),
        _duplicates(steps),
        _spread(steps),
        _growth(steps),
        _truncated(steps),
    ]
    return [text[:1].upper() + text[1:] for text in found if text]


def _stretch(
    steps: Sequence[Step], value: Value, is_much: Callable[[float], bool]
) -> _Stretch | None:
    """The last stretch of steps in which the mean over every window is much."""
    known = [(step.number or 0, number) for step in steps if (number := value(step)) is not None]
    ends = range(WINDOW, len(known) + 1)
    much = [is_much(fmean(number for _, number in known[end - WINDOW : end])) for end in ends]
    if True not in much:
        return None
    last = len(much) - 1 - much[::-1].index(True)
    first = last
    while first and much[first - 1]:
        first -= 1
    of = known[first : last + WINDOW]
    return _Stretch(of[0][0], of[-1][0], last == len(much) - 1, fmean(n for _, n in of))


def _with_length(steps: Sequence[Step]) -> str | None:
    found = _stretch(steps, lambda s: s.correlation, lambda r: abs(r) >= CORRELATION)
    if not found:
        return None
    verb, what = ("rises", "longer") if found.mean > 0 else ("falls", "shorter")
    return (
        f"{found.when}, reward {verb} with length: their correlation is {signed(found.mean, 2)} on "
        f"average. A policy gains by writing {what} answers."
    )


def _beyond(steps: Sequence[Step]) -> str | None:
    found = _stretch(steps, lambda s: s.beyond, lambda share: share >= BEYOND)
    if not found:
        return None
    inside = [s for s in steps if found.first <= (s.number or 0) <= found.last]
    above, below = sum(s.above or 0 for s in inside), sum(s.below or 0 for s in inside)
    side = "above" if above >= below else "below"
    return (
        f"{found.when}, {found.mean:.0%} of the rewards lie beyond the range of the reference, "
        f"most of them {side} it. The model judges answers unlike those that it is known for."
    )


def _distance(steps: Sequence[Step]) -> str | None:
    found = _stretch(steps, lambda s: s.distance, lambda d: abs(d) >= DISTANCE)
    if not found:
        return None
    side = "above" if found.mean > 0 else "below"
    return (
        f"{found.when}, the mean reward lies {abs(found.mean):.1f} standard deviations {side} that "
        "of the reference. Such rewards were rare when the model was looked at."
    )


def _duplicates(steps: Sequence[Step]) -> str | None:
    found = _stretch(steps, lambda s: s.duplicate_share, lambda share: share >= DUPLICATES)
    return found and (
        f"{found.when}, {found.mean:.0%} of the answers equal an earlier one of their step. The "
        "policy repeats itself."
    )


def _beginning(steps: Sequence[Step], value: Value) -> float | None:
    known = [number for step in steps if (number := value(step)) is not None]
    return fmean(known[:WINDOW]) if len(known) >= WINDOW else None


def _spread(steps: Sequence[Step]) -> str | None:
    begun = _beginning(steps, lambda s: s.std)
    if not begun:
        return None
    found = _stretch(steps, lambda s: s.std, lambda std: std <= SPREAD * begun)
    return found and (
        f"{found.when}, the rewards of a step hardly differ: their standard deviation is "
        f"{found.mean:.3g}, and was {begun:.3g} in the first {WINDOW} steps. There is little left "
        "to learn from."
    )


def _growth(steps: Sequence[Step]) -> str | None:
    if len({step.unit for step in steps}) != 1:
        return None
    begun, length = _beginning(steps, lambda s: s.mean), _beginning(steps, lambda s: s.length)
    std = _beginning(steps, lambda s: s.std)
    if begun is None or not length or std is None:
        return None
    found = _stretch(steps, lambda s: s.length, lambda mean: mean >= LONGER * length)
    if not found:
        return None
    inside = [s.mean for s in steps if found.first <= (s.number or 0) <= found.last]
    if fmean(inside) < begun + RISEN * std:
        return None
    return (
        f"{found.when}, answers are {found.mean / length:.1f} times as long as in the first "
        f"{WINDOW} steps, and their rewards have risen. Read some: are they better, or only longer?"
    )


def _truncated(steps: Sequence[Step]) -> str | None:
    found = _stretch(steps, lambda s: s.truncated / s.responses, lambda share: share >= TRUNCATED)
    return found and (
        f"{found.when}, {found.mean:.0%} of the prompts were read without their beginning. The "
        "model does not see what was asked."
    )
