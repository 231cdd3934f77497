"""Losses: pure functions of rewards and comparisons. No model, no tokenizer.

Shapes: R rewards, C comparisons. A loss returns a sum and the caller divides by the units of the
whole optimizer step, known before any forward pass, so that cutting a step into passes changes
nothing.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from assay.data.records import Comparison


@dataclass(frozen=True, slots=True)
class Pairs:
    """Comparisons as tensors: `better_C` and `worse_C` index rewards.

    A tie stands in either order with `target_C` one half.
    """

    better_C: Tensor
    worse_C: Tensor
    target_C: Tensor
    weight_C: Tensor

    @classmethod
    def of(cls, comparisons: Iterable[tuple[int, Comparison, float]]) -> Pairs:
        """Build from (offset of the group's first reward, comparison, weight)."""
        better, worse, target, weights = [], [], [], []
        for offset, comparison, weight in comparisons:
            first, second = comparison.winner_loser or (comparison.a, comparison.b)
            better.append(offset + first)
            worse.append(offset + second)
            target.append(0.5 if comparison.outcome == "tie" else 1.0)
            weights.append(weight)
        return cls(
            torch.tensor(better, dtype=torch.long),
            torch.tensor(worse, dtype=torch.long),
            torch.tensor(target, dtype=torch.float64),
            torch.tensor(weights, dtype=torch.float64),
        )


def bradley_terry(reward_R: Tensor, pairs: Pairs) -> Tensor:
    """Sum over comparisons of weight * -[t log s(g) + (1 - t) log s(-g)], g the reward gap.

    s is the logistic function, t is 1 for a win and 1/2 for a tie (Bradley and Terry, 1952; as a
    reward loss: Stiennon et al., 2020, section 3.4). Finite for any finite gap.

    Args:
        reward_R: rewards; narrower ones are widened to float32 before they are subtracted.
        pairs: comparisons between them.

    Returns:
        A scalar, float32 or wider.
    """
    reward_R = reward_R.to(torch.promote_types(reward_R.dtype, torch.float32))
    gap_C = reward_R[pairs.better_C] - reward_R[pairs.worse_C]
    target_C = pairs.target_C.to(gap_C)
    loss_C = -target_C * F.logsigmoid(gap_C) - (1 - target_C) * F.logsigmoid(-gap_C)
    return (pairs.weight_C.to(gap_C) * loss_C).sum()


LOSSES = {"bradley_terry": bradley_terry}
"""Losses by their name in a recipe."""
