"""DistributedDataParallel: every process holds everything, gradients are averaged."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel

from assay.model.engine import Batch
from assay.model.reward_model import RewardModel, giving
from assay.train.random_state import drawn_aside
from assay.train.strategy.door import one_token, through
from assay.train.strategy.single import Single
from assay.train.strategy.team import Team


class Ddp(Single):
    """Passes are each process's own; one of a single token at the end averages the gradients.

    So their number may differ, and it need not be known beforehand which is the last.
    """

    name = "ddp"
    is_alone = False

    def __init__(
        self,
        model: RewardModel,
        make_optimizer: Callable[[], torch.optim.Optimizer],
        team: Team,
    ) -> None:
        self.engine = DistributedDataParallel(
            model, forward_sync_buffers=False, find_unused_parameters=not _uses_all(model)
        )
        self._bare = model
        super().__init__(through(model, self._forward), make_optimizer(), team)

    def backward(self, loss: Tensor) -> None:
        """Add a gradient; the engine divides by the number of processes."""
        super().backward(loss * self.team.size)

    def finish(self, *, gradients: bool) -> None:
        """Average what has been added up everywhere."""
        if not gradients:
            return
        before = replace(self._bare.computed)
        super().backward(0 * self.engine(one_token(self._bare)).sum())
        self._bare.computed = before

    def _forward(self, batch: Batch) -> Tensor:
        with self.engine.no_sync():
            reward_R: Tensor = (self.engine if torch.is_grad_enabled() else self._bare)(batch)
        return reward_R


def _uses_all(model: RewardModel) -> bool:
    """Whether a short pass uses all that is trained: not so experts, and parts for pictures."""
    before = replace(model.computed)
    # Members, where there are any: they are what is trained, and the reward's row their mean.
    with drawn_aside(model.device), giving(model, "members"):
        model(one_token(model)).sum().backward()
    model.computed = before
    uses_all = all(p.grad is not None for p in model.parameters() if p.requires_grad)
    model.zero_grad(set_to_none=True)
    return uses_all
