"""A linear head of another program as Assay has it: one row without a bias, and an offset.

Another program's reward is (w h + b - mean) / std of a hidden state h. That is a row w / std, which
every program that loads the written directory applies, and an offset (b - mean) / std, which only
Assay does: `ForSequenceClassification` has no place for it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from assay.errors import ModelError


@dataclass(frozen=True, slots=True)
class ForeignHead:
    """A head as it was read.

    Attributes:
        origin: the program that wrote it.
        row_1D: its row, the scale folded in, float32.
        offset: what is added to each reward.
    """

    origin: str
    row_1D: Tensor
    offset: float


def folded(
    origin: str,
    directory: Path,
    weight_1D: Tensor,
    *,
    bias_1: Tensor | None = None,
    mean: float = 0.0,
    std: float = 1.0,
) -> ForeignHead:
    """Fold (w h + b - mean) / std into a row and an offset, in float64; no bias is one of 0.

    Raises:
        ModelError: it is not one row, a number in it is not finite, or `std` is not positive.
    """
    if weight_1D.ndim != 2 or weight_1D.shape[0] != 1:
        raise ModelError(
            f"{origin}'s head has the shape {list(weight_1D.shape)}; a reward is one row",
            where=directory,
            mend="start from the base model, or from a head with one output",
        )
    bias = 0.0 if bias_1 is None else float(bias_1.double().sum())
    row_1D = (weight_1D.double() / std if std > 0 else weight_1D * math.nan).float()
    offset = (bias - mean) / std if std > 0 else math.nan
    if not math.isfinite(offset) or not bool(torch.isfinite(row_1D).all()):
        raise ModelError(
            f"{origin}'s head is not finite (bias {bias}, mean {mean}, std {std})",
            where=directory,
            mend="fetch the model again",
        )
    return ForeignHead(origin, row_1D, offset)
