"""Regression of heads on ratings. R responses, M heads, V ratings."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from assay.losses.precision import widened


@dataclass(frozen=True, slots=True)
class Ratings:
    """Ratings as tensors: which response, which head, how much, and its weight."""

    response_V: Tensor
    head_V: Tensor
    target_V: Tensor
    weight_V: Tensor

    @classmethod
    def of(cls, ratings: Iterable[tuple[int, int, float, float]]) -> Ratings:
        """Build from (response, head, rating, weight)."""
        rows = list(ratings)
        responses, heads, targets, weights = zip(*rows, strict=True) if rows else ((),) * 4
        return cls(
            torch.tensor(responses, dtype=torch.long),
            torch.tensor(heads, dtype=torch.long),
            torch.tensor(targets, dtype=torch.float64),
            torch.tensor(weights, dtype=torch.float64),
        )


def squared_error(value_RM: Tensor, ratings: Ratings) -> Tensor:
    """Sum over ratings of weight * (value - target)^2; a rating that is missing costs nothing.

    As the regression reward models of HelpSteer2 (Wang et al., 2024) and ArmoRM (Wang et al.,
    2024) are trained.

    Returns:
        A scalar, float32 or wider.
    """
    return squared_errors(value_RM, ratings, value_RM.shape[1]).sum()


def squared_errors(value_RM: Tensor, ratings: Ratings, num_heads: int) -> Tensor:
    """The parts [M] of `squared_error`, one for each head."""
    value_RM = widened(value_RM)
    found_V = value_RM[ratings.response_V, ratings.head_V]
    error_V = ratings.weight_V.to(found_V) * (found_V - ratings.target_V.to(found_V)).square()
    head_V = ratings.head_V.to(found_V.device)
    return found_V.new_zeros(num_heads).index_add(0, head_V, error_V)
