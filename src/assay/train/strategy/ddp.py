"""DistributedDataParallel: every process holds everything, gradients are averaged."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn
from torch import distributed as dist
from torch.nn.parallel import DistributedDataParallel

from assay.model.engine import Batch
from assay.model.reward_model import RewardModel
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
        self._aside = _unused_by_one_token(model)
        self.engine = DistributedDataParallel(
            model, forward_sync_buffers=False, find_unused_parameters=bool(self._aside)
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
        for parameter in self._aside:
            self._average(parameter)

    def _forward(self, batch: Batch) -> Tensor:
        reward_R: Tensor
        if not torch.is_grad_enabled():
            return self._bare(batch)  # type: ignore[no-any-return]
        with self.engine.no_sync():
            reward_R = self.engine(batch)
        return reward_R

    def _average(self, parameter: nn.Parameter) -> None:
        """What DDP leaves alone, as no process's last pass has used it."""
        used = self.team.largest(int(parameter.grad is not None))
        if used:
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
            dist.all_reduce(parameter.grad)
            parameter.grad /= self.team.size


def _unused_by_one_token(model: RewardModel) -> Sequence[nn.Parameter]:
    """Trainable weights that a short pass does not use: experts, parts for pictures."""
    before = replace(model.computed)
    with drawn_aside(model.device):
        model(one_token(model)).sum().backward()
    model.computed = before
    unused = [p for p in model.parameters() if p.requires_grad and p.grad is None]
    model.zero_grad(set_to_none=True)
    return unused
