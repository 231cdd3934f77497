"""Models of ties: three outcomes with probabilities of their own.

C comparisons; g is the gap of the two rewards, s the logistic function. Both models have one
number, fixed beforehand: p, the probability of a tie between equal rewards.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from assay.losses.pairs import Pairs
from assay.losses.precision import widened


def rao_kupper(reward_R: Tensor, pairs: Pairs, *, tie_probability: float) -> Tensor:
    """Sum over comparisons of weight * -log P(outcome), a tie being a gap too small to be seen.

    P(a) = s(g - h), P(b) = s(-g - h), P(tie) = (e^2h - 1) s(g - h) s(-g - h), where e^h = theta =
    (1 + p) / (1 - p) (Rao and Kupper, 1967). Finite for any finite gap.
    """
    gap_C = pairs.gaps(widened(reward_R))
    threshold = math.log1p(tie_probability) - math.log1p(-tie_probability)
    won_C = F.logsigmoid(gap_C - threshold)
    lost_C = F.logsigmoid(-gap_C - threshold)
    tied_C = math.log(math.expm1(2 * threshold)) + won_C + lost_C
    return _sum(torch.where(pairs.tied_C.to(gap_C.device), tied_C, won_C), pairs)


def davidson(reward_R: Tensor, pairs: Pairs, *, tie_probability: float) -> Tensor:
    """Sum over comparisons of weight * -log P(outcome), a tie as strong as both on the average.

    P(a) : P(b) : P(tie) = e^(g/2) : e^(-g/2) : nu with nu = 2 p / (1 - p) (Davidson, 1970).
    Finite for any finite gap.
    """
    half_C = pairs.gaps(widened(reward_R)) / 2
    log_nu = math.log(2 * tie_probability / (1 - tie_probability))
    tie_C = torch.full_like(half_C, log_nu)
    log_all_C = torch.logsumexp(torch.stack([half_C, -half_C, tie_C]), 0)
    return _sum(torch.where(pairs.tied_C.to(half_C.device), tie_C, half_C) - log_all_C, pairs)


def _sum(log_probability_C: Tensor, pairs: Pairs) -> Tensor:
    return -(pairs.weight_C.to(log_probability_C) * log_probability_C).sum()
