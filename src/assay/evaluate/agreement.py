"""Whether rewards rank the responses to a prompt as their ratings do.

Shapes: G groups of n responses each.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from assay.evaluate.intervals import mean_interval
from assay.evaluate.metrics import Floats

_CELLS = 4_000_000
"""Pairs of responses that are compared at once."""


@dataclass(frozen=True, slots=True)
class Rated:
    """The rated responses to one prompt: at least two, with their rewards."""

    prompt: int
    ratings: tuple[float, ...]
    rewards: tuple[float, ...]


def rank_agreement(rated: Sequence[Rated]) -> dict[str, Any]:
    """Spearman's rho and Kendall's tau-b within each prompt, and their means over groups.

    Groups whose ratings are all equal say nothing and are counted as `num_constant`. Rewards that
    are all equal agree with nothing: both are 0 there. Intervals are clustered by prompt.
    """
    rho: list[float] = []
    tau: list[float] = []
    prompts: list[int] = []
    pairs = 0
    for chosen, rating_Gn, reward_Gn in by_size(rated):
        varied_G = np.ptp(rating_Gn, axis=1) > 0
        rho += spearman(rating_Gn[varied_G], reward_Gn[varied_G]).tolist()
        tau += kendall(rating_Gn[varied_G], reward_Gn[varied_G]).tolist()
        prompts += [rated[i].prompt for i in np.array(chosen)[varied_G].tolist()]
        size = rating_Gn.shape[1]
        pairs += int(varied_G.sum()) * size * (size - 1) // 2
    found: dict[str, Any] = {
        "num_groups": len(rho),
        "num_constant": len(rated) - len(rho),
        "num_pairs": pairs,
    }
    for name, values in (("spearman", rho), ("kendall", tau)):
        mean, interval = None, None
        if values:
            mean, interval = mean_interval(np.array(values), np.array(prompts, dtype=np.intp))
        found |= {name: mean, f"{name}_ci95": interval}
    return found


def spearman(x_Gn: Floats, y_Gn: Floats) -> Floats:
    """Pearson's correlation of the ranks, equal values sharing the mean of theirs."""
    x, y = (_centred_ranks(values) for values in (x_Gn, y_Gn))
    return _ratio((x * y).sum(1), (x**2).sum(1) * (y**2).sum(1))


def kendall(x_Gn: Floats, y_Gn: Floats) -> Floats:
    """Tau-b: pairs in the same order minus pairs in the other, ties corrected."""
    x, y = _signs(x_Gn), _signs(y_Gn)
    square = (x**2).sum((1, 2)) * (y**2).sum((1, 2))
    return _ratio((x * y).sum((1, 2)), square)


def by_size(rated: Sequence[Rated]) -> Iterator[tuple[list[int], Floats, Floats]]:
    """Groups of equal size together, in parts of bounded memory: indices, ratings, rewards."""
    by_size: dict[int, list[int]] = {}
    for index, group in enumerate(rated):
        by_size.setdefault(len(group.ratings), []).append(index)
    for size, indices in by_size.items():
        step = max(1, _CELLS // size**2)
        for start in range(0, len(indices), step):
            part = indices[start : start + step]
            yield (
                part,
                np.array([rated[i].ratings for i in part], dtype=np.float64),
                np.array([rated[i].rewards for i in part], dtype=np.float64),
            )


def _signs(x_Gn: Floats) -> Floats:
    signs: Floats = np.sign(x_Gn[:, :, None] - x_Gn[:, None, :])
    return signs


def _centred_ranks(x_Gn: Floats) -> Floats:
    """Twice the rank minus its mean: how many are below minus how many are above."""
    ranks: Floats = _signs(x_Gn).sum(2)
    return ranks


def _ratio(product_G: Floats, square_G: Floats) -> Floats:
    found = np.zeros(len(product_G))
    np.divide(product_G, np.sqrt(square_G), out=found, where=square_G > 0)
    return found
