"""The precision of losses: float32 or wider, whatever the rewards come in."""

from __future__ import annotations

import torch
from torch import Tensor


def widened(rewards: Tensor) -> Tensor:
    """Rewards in float32, or as they are where that is wider: bfloat16 would lose small gaps."""
    return rewards.to(torch.promote_types(rewards.dtype, torch.float32))
