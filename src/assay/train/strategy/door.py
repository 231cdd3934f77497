"""A model whose forward passes go through a wrapper, and passes that all processes make alike."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from enum import IntEnum
from typing import Any, cast

import torch
from torch import Tensor

from assay.model.engine import Batch
from assay.model.reward_model import RewardModel
from assay.train.strategy.team import Team

Forward = Callable[[Batch], Tensor]


class _Door:
    def __init__(self, model: RewardModel, forward: Forward) -> None:
        self._model = model
        self._forward = forward

    def __call__(self, batch: Batch) -> Tensor:
        return self._forward(batch)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)

    def __setattr__(self, name: str, value: object) -> None:
        if name in ("_model", "_forward"):
            object.__setattr__(self, name, value)
        else:
            setattr(self._model, name, value)


def through(model: RewardModel, forward: Forward) -> RewardModel:
    """The model, but that calling it calls `forward`: a wrapper's, which calls the model."""
    return cast(RewardModel, _Door(model, forward))


def one_token(model: RewardModel) -> Batch:
    """The smallest batch, for a pass that a process makes only because others make one."""
    return model.engine.batch([(model.pad_id,)], [0], model.pad_id, model.device)


class Wish(IntEnum):
    """What a process wants to do next; where wishes differ, the largest is done first."""

    NOTHING = 0
    FORWARD_BACKWARD = 1
    FORWARD = 2


class Lockstep:
    """Every process makes the same passes in the same order, as sharded weights demand.

    A pass gathers the weights of each layer from all processes, so that a pass of one is a pass
    of all. Before each the processes say what they want; those that want something else make a
    pass of one token, whose loss is zero. A forward pass with gradients is followed by its
    backward pass before the next.
    """

    def __init__(
        self, team: Team, model: RewardModel, forward: Forward, backward: Callable[[Tensor], None]
    ) -> None:
        self._team = team
        self._model = model
        self._forward = forward
        self._backward = backward

    def forward(self, batch: Batch) -> Tensor:
        """One's own pass, when its turn has come."""
        self._join_in(Wish.FORWARD_BACKWARD if torch.is_grad_enabled() else Wish.FORWARD)
        return self._forward(batch)

    def finish(self) -> None:
        """Take part until nobody wants anything."""
        self._join_in(Wish.NOTHING)

    def _join_in(self, wish: Wish) -> None:
        while (turn := Wish(self._team.largest(wish))) != wish:
            before = replace(self._model.computed)
            with torch.set_grad_enabled(turn is Wish.FORWARD_BACKWARD):
                reward_1 = self._forward(one_token(self._model))
            if turn is Wish.FORWARD_BACKWARD:
                self._backward(0 * reward_1.sum())
            self._model.computed = before
