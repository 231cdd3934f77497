"""A model without its weights, into which gathered ones are put to be saved."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from assay.model.reward_model import RewardModel
from assay.train.strategy.team import Team


def skeleton_of(model: RewardModel) -> RewardModel:
    """A copy of everything but the weights, made before they are sharded; it takes no memory."""
    memo: dict[int, object] = {id(model.renderer): model.renderer}
    for parameter in model.parameters():
        empty = torch.empty(0, dtype=parameter.dtype)
        memo[id(parameter)] = nn.Parameter(empty, requires_grad=parameter.requires_grad)
    return copy.deepcopy(model, memo)


@contextmanager
def filled(
    skeleton: RewardModel, weights: Iterable[tuple[str, Tensor]], team: Team
) -> Iterator[RewardModel | None]:
    """On the first process the skeleton with weights, by parameter name, while the block runs."""
    if not team.is_first:
        yield None
        return
    parameters = dict(skeleton.named_parameters())
    try:
        for name, weight in weights:
            parameters[name].data = weight
        yield skeleton
    finally:
        for parameter in parameters.values():
            parameter.data = torch.empty(0, dtype=parameter.dtype)
