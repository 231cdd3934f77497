"""The reward head: one row, no bias, drawn from the seed."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from assay.notices import notice

if TYPE_CHECKING:
    from transformers import PreTrainedModel


@torch.no_grad()
def initialise_head(classifier: PreTrainedModel, seed: int) -> None:
    """Draw `score.weight` [1, D] from N(0, 1 / (D + 1)) (variance), on CPU in float32.

    The scale is that of Stiennon et al., 2020, appendix B.1; the draw depends on the seed and D
    only, not on device, dtype or sharding. Families whose head is not one linear layer `score`
    (encoders) keep the head that transformers drew, from the same seed.
    """
    head = getattr(classifier, "score", None)
    if not isinstance(head, nn.Linear):
        notice(f"{type(classifier).__name__} keeps its own kind of head")
        return
    drawn = drawn_rows(1, head.weight.shape[1], seed)
    head.float().weight.copy_(drawn)  # Not rounded to a narrower backbone's dtype.


def widen(classifier: nn.Module) -> None:
    """Hold a head of one row in float32 at least, whatever its backbone is held in."""
    head = getattr(classifier, "score", None)
    if isinstance(head, nn.Linear):
        head.to(torch.promote_types(head.weight.dtype, torch.float32))


def widen_trained(model: nn.Module) -> None:
    """Hold what is trained in float32 at least: in 16 bits small updates would be rounded away."""
    for weight in model.parameters():
        if weight.requires_grad:
            weight.data = weight.data.to(torch.promote_types(weight.dtype, torch.float32))


def drawn_rows(count: int, width: int, seed: int) -> Tensor:
    """Rows [count, width] of new heads; the first is the same for every count."""
    generator = torch.Generator().manual_seed(seed)
    rows = [torch.randn(1, width, generator=generator) for _ in range(count)]
    drawn = torch.cat(rows)
    return drawn / math.sqrt(width + 1)
