"""What a training loop asks of the engine that holds the weights."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Protocol, TypeVar

import torch
from torch import Tensor

from assay.model.reward_model import RewardModel
from assay.train.strategy.team import Team

T = TypeVar("T")
Moments = dict[str, Tensor]
"""`KIND/PARAMETER` to a whole tensor on the CPU; KIND is step, exp_avg or exp_avg_sq."""


class Strategy(Protocol):
    """One step is: `zero_grad`, passes of `model` with `backward`, `finish`, `clip`, `step`.

    All processes call these in the same order, but for the passes: `own` says which packs are
    whose, and how many a process makes is its own affair.
    """

    @property
    def name(self) -> str:
        """As in recipes."""

    @property
    def in_lockstep(self) -> bool:
        """Whether each forward pass with gradients must be followed by its backward pass."""

    @property
    def is_alone(self) -> bool:
        """Whether nothing but autograd meets the gradients, so that passes may run side by side."""

    @property
    def team(self) -> Team:
        """The processes."""

    @property
    def model(self) -> RewardModel:
        """The model; calling it makes a pass through the engine."""

    @property
    def optimizer(self) -> torch.optim.Optimizer:
        """Its rates are the schedule's to set."""

    def zero_grad(self) -> None:
        """Forget the gradients."""

    def gathering(self) -> AbstractContextManager[None]:
        """What the passes of a round stand in."""

    def own(self, count: int) -> Sequence[int]:
        """Which of so many packs are this process's."""

    def backward(self, loss: Tensor) -> None:
        """Add the gradient of a part of the loss; the parts of all processes make the whole."""

    def finish(self, *, gradients: bool) -> None:
        """No further passes from here; with `gradients`, sum them over the processes."""

    def clip(self, max_norm: float) -> Tensor:
        """Scale the gradient down to a norm; returns the norm that the whole gradient had."""

    def step(self) -> None:
        """Update the weights."""

    def gather(self, parts: dict[int, T]) -> list[T]:
        """What all processes have, by number of the pack."""

    def whole(self) -> AbstractContextManager[RewardModel | None]:
        """On the first process a model with all weights, to be saved; elsewhere None."""

    def moments(self) -> Moments:
        """The optimizer's state, whole on the first process."""

    def put_moments(self, moments: Moments) -> None:
        """Restore what `moments` gave, from any strategy and any number of processes."""
