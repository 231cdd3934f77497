"""FSDP2: weights, gradients and moments are sharded, and gathered layer by layer.

Torch's own `fully_shard`. Weights are gathered in the dtype in which they are held (autocast
narrows them where it would on one device), so that the numbers are those of one device. What
stands outside of the transformers backbone, the head, is a unit of its own: the outermost one.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor

from assay.model.reward_model import RewardModel
from assay.train.strategy.door import Lockstep, through
from assay.train.strategy.single import Single, whole_tensor
from assay.train.strategy.skeleton import filled, skeleton_of
from assay.train.strategy.team import Team


class Fsdp2(Single):
    """Every pass gathers weights from all processes, hence in lockstep."""

    name = "fsdp2"
    in_lockstep = True
    is_alone = False

    def __init__(
        self,
        model: RewardModel,
        make_optimizer: Callable[[], torch.optim.Optimizer],
        team: Team,
        device: torch.device,
    ) -> None:
        self._skeleton = skeleton_of(model)
        self._bare: Any = model
        _shard(model, device)
        self._lockstep = Lockstep(team, model, model, super().backward)
        super().__init__(through(model, self._lockstep.forward), make_optimizer(), team)

    def backward(self, loss: Tensor) -> None:
        """Add a gradient; the engine divides by the number of processes."""
        super().backward(loss * self.team.size)

    def finish(self, *, gradients: bool) -> None:
        """Join in the passes of the others. Each has summed its gradients already."""
        self._lockstep.finish()
        self._bare.reshard()  # The head, which stays gathered until a backward pass comes.

    def whole(self) -> AbstractContextManager[RewardModel | None]:
        """The gathered weights on the first process, in its main memory."""
        weights = []
        for name, parameter in self.model.named_parameters():
            weight = whole_tensor(parameter.detach())
            if self.team.is_first:
                weights.append((name, weight.cpu()))
        return filled(self._skeleton, weights, self.team)

    def _placed(self, kind: str, value: Tensor, parameter: nn.Parameter) -> Tensor:
        if kind == "step" or not isinstance(parameter, DTensor):
            return value.to(parameter.device)
        # Each process has read the whole, and takes its shard without asking the others.
        return distribute_tensor(
            value.to(parameter.device),
            parameter.device_mesh,
            parameter.placements,
            src_data_rank=None,
        )


def _shard(model: RewardModel, device: torch.device) -> None:
    """Units: each layer, the rest of the backbone, and the head; the weights move to the device."""
    from torch.distributed.device_mesh import init_device_mesh

    # Rewards are a column of what the head gives; nobody changes them in place.
    warnings.filterwarnings("ignore", "FSDP2-wrapped module .* returned a view", UserWarning)
    mesh = init_device_mesh(device.type, (torch.distributed.get_world_size(),))
    layers = set(getattr(model.classifier, "_no_split_modules", None) or ())
    for module in model.backbone.modules():
        if type(module).__name__ in layers:
            fully_shard(module, mesh=mesh)
    fully_shard(model.backbone, mesh=mesh)
    fully_shard(model, mesh=mesh)
    for module in model.modules():
        for name, buffer in module.named_buffers(recurse=False):
            setattr(module, name, buffer.to(device))
