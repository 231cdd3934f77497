"""How often a rule that reads no meaning picks the better answer, with its 95% interval."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_Z = 1.959963984540054


@dataclass(frozen=True, slots=True)
class Shortcut:
    """A rule in the direction that wins more often.

    `accuracy` counts comparisons on which the rule says nothing (equal measures) one half;
    `accuracy_where_decided` leaves them out and is None where there are no others. `low` and
    `high` are the 95% interval of `accuracy`.
    """

    name: str
    direction: str
    accuracy: float
    low: float
    high: float
    comparisons: int
    decided: int
    accuracy_where_decided: float | None

    def shown(self) -> list[str]:
        """Direction, accuracy, interval, how many it decides, and the accuracy there."""
        where = self.accuracy_where_decided
        return [
            self.direction,
            f"{self.accuracy:.3f}",
            f"{self.low:.3f} to {self.high:.3f}",
            f"{self.decided} of {self.comparisons}",
            "" if where is None else f"{where:.3f}",
        ]


def shortcut(
    rule: tuple[str, str, str], signs: NDArray[np.int8], prompts: NDArray[np.int64]
) -> Shortcut:
    """The accuracy of a rule.

    Args:
        rule: its name, and what its directions `more wins` and `less wins` are called.
        signs: of each decided comparison, the sign of winner's minus loser's measure.
        prompts: the prompt of each comparison; comparisons of one prompt are not independent.
    """
    name, more, less = rule
    wins, losses, count = int((signs > 0).sum()), int((signs < 0).sum()), len(signs)
    direction = more
    if losses > wins:
        direction, wins, losses = less, losses, wins
        signs = -signs
    scores = (signs.astype(np.float64) + 1) / 2
    accuracy = float(scores.mean())
    low, high = wilson(accuracy, effective_count(scores, prompts))
    decided = wins + losses
    where = wins / decided if decided else None
    return Shortcut(name, direction, accuracy, low, high, count, decided, where)


def effective_count(scores: NDArray[np.float64], prompts: NDArray[np.int64]) -> float:
    """How many independent comparisons say as much as these, which cluster by prompt.

    p(1-p)/n_eff is the variance of the mean by clusters; at most all comparisons. Where the
    variance is zero, the number of prompts.
    """
    mean = float(scores.mean())
    _, cluster = np.unique(prompts, return_inverse=True)
    sums = np.bincount(cluster, weights=scores - mean)
    variance = float((sums**2).sum()) / len(scores) ** 2
    if variance <= 1e-15:
        return float(len(sums))
    return min(float(len(scores)), mean * (1 - mean) / variance)


def wilson(share: float, count: float) -> tuple[float, float]:
    """Wilson's 95% interval of a share of `count` independent trials."""
    centre = (share + _Z**2 / (2 * count)) / (1 + _Z**2 / count)
    half = _Z / (1 + _Z**2 / count)
    half *= math.sqrt(share * (1 - share) / count + _Z**2 / (4 * count**2))
    return max(0.0, centre - half), min(1.0, centre + half)
