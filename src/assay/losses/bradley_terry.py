"""Bradley-Terry, with margin and label smoothing, and the centring of rewards.

R rewards, C comparisons; s is the logistic function.
"""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from assay.losses.pairs import Pairs
from assay.losses.precision import widened


def bradley_terry(
    reward_R: Tensor, pairs: Pairs, *, margin_scale: float = 0.0, label_smoothing: float = 0.0
) -> Tensor:
    """Sum over comparisons of weight * -[t log s(x) + (1 - t) log s(-x)].

    x is the reward gap minus `margin_scale` times the margin. t is 1 for a win and 1/2 for a tie;
    with label smoothing e it becomes t (1 - e) + (1 - t) e: each label is wrong with probability
    e, and a tie stays what it is. Bradley and Terry, 1952; as a reward loss Stiennon et al., 2020,
    section 3.4; the margin is that of Touvron et al., 2023 (Llama 2), equation 2. Finite for any
    finite gap.

    Args:
        reward_R: rewards; narrower ones are widened to float32 before they are subtracted.
        pairs: comparisons between them.
        margin_scale: rewards that one unit of margin asks for; 0 leaves margins out.
        label_smoothing: probability that a label is wrong, below 1/2.

    Returns:
        A scalar, float32 or wider.
    """
    gap_C = pairs.gaps(widened(reward_R))
    target_C = pairs.target_C.to(gap_C)
    if margin_scale:
        gap_C = gap_C - margin_scale * pairs.margin_C.to(gap_C)
    if label_smoothing:
        target_C = target_C * (1 - label_smoothing) + (1 - target_C) * label_smoothing
    loss_C = -target_C * F.logsigmoid(gap_C) - (1 - target_C) * F.logsigmoid(-gap_C)
    return (pairs.weight_C.to(gap_C) * loss_C).sum()


def centring(reward_R: Tensor, pairs: Pairs) -> Tensor:
    """Sum over comparisons of weight * (r_a + r_b)^2: what keeps rewards near zero.

    Times a coefficient and divided by the weights it is Eisenstein et al., 2023 ("Helping or
    Herding?"), equation 2, as in TRL's `center_rewards_coefficient`. The square of the sum, not
    the sum of squares: the gap of two rewards costs nothing.
    """
    reward_R = widened(reward_R)
    sum_C = reward_R[pairs.better_C] + reward_R[pairs.worse_C]
    return (pairs.weight_C.to(sum_C) * sum_C.square()).sum()
