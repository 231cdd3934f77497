"""Plackett-Luce: a ranking as a sequence of choices, the best of all first, then of the rest.

R rewards; a *stage* is one choice: Z of them, of at most N to choose from. Stages stand in
*orders* (O) of one rank, and ranks in T tiers with at most Q orders each.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import permutations
from typing import Literal

import torch
from torch import Tensor

from assay.data.records import Ranking
from assay.losses.precision import widened

TieModel = Literal["breslow", "orders"]
MOST_TIED = 4
"""Responses of equal rank whose orders are all counted: 24 of them."""


@dataclass(frozen=True, slots=True)
class Stages:
    """Rankings as tensors. Entries of -1 in `open_ZN` and `order_TQ` are empty."""

    chosen_Z: Tensor
    open_ZN: Tensor
    order_Z: Tensor
    order_TQ: Tensor
    weight_T: Tensor

    @classmethod
    def of(cls, rankings: Iterable[tuple[int, Ranking, float]], ties: TieModel) -> Stages:
        """Build from (offset of the group's first reward, ranking, weight).

        Raises:
            ValueError: `orders` with more than `MOST_TIED` of equal rank.
        """
        chosen: list[int] = []
        opens: list[list[int]] = []
        order_of: list[int] = []
        tiers: list[list[int]] = []
        weights: list[float] = []
        count = 0
        for offset, ranking, weight in rankings:
            left = [offset + index for rank in ranking for index in rank]
            for rank in filter(None, ranking):
                tied = [offset + index for index in rank]
                tiers.append([])
                weights.append(weight)
                for stages in _choices(tied, left, ties):
                    for one, rest in stages:
                        chosen.append(one)
                        opens.append(rest)
                        order_of.append(count)
                    tiers[-1].append(count)
                    count += 1
                left = left[len(rank) :]
        return cls(
            torch.tensor(chosen, dtype=torch.long),
            _padded(opens),
            torch.tensor(order_of, dtype=torch.long),
            _padded(tiers),
            torch.tensor(weights, dtype=torch.float64),
        )


def plackett_luce(reward_R: Tensor, stages: Stages) -> Tensor:
    """Sum over rankings of weight * -log P(ranking), a choice being softmax of what is left.

    P of an order is the product over its stages of e^(r_chosen) / (sum of e^r over all that are
    left) (Plackett, 1975; Luce, 1959; as a ranking loss ListMLE: Xia et al., 2008).
    Of d responses of equal rank:

    breslow  each is chosen from all that are left, the d themselves included: d stages with one
             denominator (Breslow, 1974). It pulls equal ranks together, the last one too.
    orders   the mean of P over all d! orders of them: the exact probability that these d come
             next, over d! (Kalbfleisch and Prentice, 1973). It says nothing of their own rewards
             towards each other, and nothing at all of the last rank.

    Finite for any finite gap. Without ties both are the same, and of two responses Bradley-Terry.

    Returns:
        A scalar, float32 or wider.
    """
    reward_R = widened(reward_R)
    device = reward_R.device
    if not len(stages.chosen_Z):
        return reward_R.sum() * 0
    cost_Z = (
        torch.logsumexp(_taken(reward_R, stages.open_ZN.to(device), -torch.inf), 1)
        - reward_R[stages.chosen_Z]
    )
    num_orders = int(stages.order_TQ.max()) + 1
    cost_O = cost_Z.new_zeros(num_orders).index_add(0, stages.order_Z.to(device), cost_Z)
    order_TQ = stages.order_TQ.to(device)
    likely_T = torch.logsumexp(_taken(-cost_O, order_TQ, -torch.inf), 1)
    count_T = (order_TQ >= 0).sum(1).to(cost_O)
    return (stages.weight_T.to(cost_O) * (count_T.log() - likely_T)).sum()


def _choices(tied: list[int], left: list[int], ties: TieModel) -> list[list[tuple[int, list[int]]]]:
    """The orders of one rank, each a list of (chosen, what it was chosen from)."""
    if len(tied) == 1 or ties == "breslow":
        return [[(one, left) for one in tied]]
    if len(tied) > MOST_TIED:
        raise ValueError(f"{len(tied)} responses of equal rank, above {MOST_TIED}")
    below = left[len(tied) :]
    return [
        [(one, [*order[place:], *below]) for place, one in enumerate(order)]
        for order in permutations(tied)
    ]


def _taken(values: Tensor, index: Tensor, empty: float) -> Tensor:
    """Values at indices; `empty` at -1."""
    return values[index.clamp(min=0)].masked_fill(index < 0, empty)


def _padded(rows: list[list[int]]) -> Tensor:
    width = max(map(len, rows), default=0)
    return torch.tensor([row + [-1] * (width - len(row)) for row in rows], dtype=torch.long)
