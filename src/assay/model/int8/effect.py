"""What 8 bits do to rewards and to speed, over answers that were scored both ways."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

from assay.notices import counted, notice, warn

TAU_BAR = 0.98
"""Kendall's tau of the same answers in both precisions below which a reader is warned."""
ENOUGH = 20
"""Answers from which on an order can be judged: tau of five moves by 0.2 with a single pair."""


@dataclass(frozen=True, slots=True)
class Effect:
    """How far rewards moved, and how much time that saved.

    `tau` is Kendall's tau-b of the two orders of all answers; `agreement` the share of the pairs
    of answers to one prompt that keep their order; both None where there is nothing to order.
    `speed` is in multiples of float32's, None where it was not measured.
    """

    num_answers: int
    largest: float
    mean: float
    tau: float | None
    num_pairs: int
    agreement: float | None
    speed: float | None = None

    def __str__(self) -> str:
        words = [
            f"{counted(self.num_answers, 'answer')} scored in both precisions: rewards moved by "
            f"{self.largest:.4f} at most, {self.mean:+.4f} on average"
        ]
        if self.tau is not None:
            words.append(f"Kendall's tau {self.tau:.4f}")
        if self.agreement is not None:
            pairs = counted(self.num_pairs, "pair")
            words.append(f"{self.agreement:.2%} of {pairs} of answers in the same order")
        if self.speed is not None:
            words.append(f"{self.speed:.2g} times as fast")
        return ", ".join(words)

    def say(self, where: str) -> None:
        """Tell it, and warn where the order of answers is not what it was; of few, say so."""
        if self.num_answers < ENOUGH:
            notice(f"{where}: {self}; too few answers to judge their order, which takes {ENOUGH}")
            return
        notice(f"{where}: {self}")
        if self.tau is not None and self.tau < TAU_BAR:
            warn(
                f"{where}: 8 bits change the order of answers (tau {self.tau:.4f} is below "
                f"{TAU_BAR}); leave --precision out where the order matters"
            )


def effect(
    before: Sequence[float],
    after: Sequence[float],
    families: Sequence[int],
    *,
    speed: float | None = None,
) -> Effect:
    """Compare two lists of rewards of the same answers; `families` numbers their prompts."""
    from scipy.stats import kendalltau

    shifts = [new - old for old, new in zip(before, after, strict=True)]
    by_family: dict[int, list[int]] = {}
    for index, family in enumerate(families):
        by_family.setdefault(family, []).append(index)
    pairs = [pair for members in by_family.values() for pair in combinations(members, 2)]
    same = [
        _sign(before[one] - before[other]) == _sign(after[one] - after[other])
        for one, other in pairs
    ]
    orders = len(set(before)) > 1 and len(set(after)) > 1
    return Effect(
        num_answers=len(shifts),
        largest=max(map(abs, shifts), default=0.0),
        mean=sum(shifts) / len(shifts) if shifts else 0.0,
        tau=float(kendalltau(before, after).statistic) if orders else None,
        num_pairs=len(pairs),
        agreement=sum(same) / len(same) if same else None,
        speed=speed,
    )


def _sign(number: float) -> int:
    return (number > 0) - (number < 0)
