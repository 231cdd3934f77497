"""DeepSpeed ZeRO: stage 2 shards gradients and moments, stage 3 the weights, too."""

from __future__ import annotations

import importlib
import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from assay.errors import ConfigError
from assay.model.reward_model import RewardModel
from assay.train.strategy.door import Lockstep, through
from assay.train.strategy.single import Moments, Single, moments_of
from assay.train.strategy.skeleton import filled, skeleton_of
from assay.train.strategy.team import Team

_MOMENTS = ("exp_avg", "exp_avg_sq")


class DeepSpeed(Single):
    """Every backward pass (and in stage 3 every forward pass) is one of all, hence in lockstep.

    The engine holds what it updates in float32, clips while it updates, and gathers in the dtype
    of the weights.
    """

    in_lockstep = True
    is_alone = False

    def __init__(
        self,
        model: RewardModel,
        make_optimizer: Callable[[], torch.optim.Optimizer],
        team: Team,
        *,
        stage: Literal[2, 3],
        max_grad_norm: float,
    ) -> None:
        self._deepspeed = _deepspeed(stage)
        self.name = f"deepspeed-zero{stage}"
        self._stage = stage
        self._skeleton = skeleton_of(model) if stage == 3 else None
        self._named = dict(model.named_parameters())
        optimizer = make_optimizer()
        self.engine: Any
        self.engine, *_ = self._deepspeed.initialize(
            model=model,
            optimizer=optimizer,
            config=_config(stage, max_grad_norm),
            dist_init_required=False,
        )
        self._lockstep = Lockstep(team, model, self.engine, self.engine.backward)
        super().__init__(through(model, self._lockstep.forward), optimizer, team)
        self._make_states()

    def zero_grad(self) -> None:
        """Forget the gradients."""
        self.engine.optimizer.zero_grad()

    def backward(self, loss: Tensor) -> None:
        """Add a gradient; the engine divides by the number of processes."""
        self.engine.backward(loss * self.team.size)

    def finish(self, *, gradients: bool) -> None:
        """Join in the passes of the others. Each has summed its gradients already."""
        self._lockstep.finish()

    def clip(self, max_norm: float) -> Tensor:
        """Update the weights by the clipped gradient: the engine does both at once."""
        self.engine.step()
        return torch.as_tensor(float(self.engine.get_global_grad_norm()))

    def step(self) -> None:
        """Done by `clip`."""

    def whole(self) -> AbstractContextManager[RewardModel | None]:
        """The model itself in stage 2; in stage 3 the gathered weights on the first process."""
        if self._skeleton is None:
            return super().whole()
        weights = []
        for name, parameter in self._named.items():
            with self._deepspeed.zero.GatheredParameters([parameter]):
                if self.team.is_first:
                    weights.append((name, parameter.detach().cpu().clone()))
        return filled(self._skeleton, weights, self.team)

    def moments(self) -> Moments:
        """The optimizer's state by parameter name, gathered."""
        found: Moments = {}
        step = self._flat_states()[0]["step"].detach().float().cpu()
        for name, parameter in self._trained():
            for kind in _MOMENTS:
                value = self._deepspeed.utils.safe_get_full_optimizer_state(parameter, kind)
                if self.team.is_first:
                    found[f"{kind}/{name}"] = value.detach().cpu().clone()
                    found[f"step/{name}"] = step.clone()
        return found

    def put_moments(self, moments: Moments) -> None:
        """Restore the optimizer's state in place. The engine has one counter of steps for all."""
        for name, parameter in self._trained():
            state = moments_of(name, moments)
            if state is None:
                continue
            for kind in _MOMENTS:
                self._put(parameter, kind, state[kind])
            for flat in self._flat_states():
                flat["step"].copy_(state["step"])

    def _put(self, parameter: Any, kind: str, value: Tensor) -> None:
        if self._stage == 2:
            self._deepspeed.utils.safe_set_full_optimizer_state(parameter, value, kind)
            return
        # The engine's own function for whole values fails where the shards are of unequal size.
        width = parameter.ds_tensor.numel()
        padded = F.pad(value.flatten(), (0, width * self.team.size - value.numel()))
        own = padded[width * self.team.rank :][:width]
        self._deepspeed.utils.safe_set_local_optimizer_state(parameter, own, kind)

    def _trained(self) -> Iterator[tuple[str, Any]]:
        return ((name, p) for name, p in self._named.items() if p.requires_grad)

    def _flats(self) -> list[Tensor]:
        """This process's shards, each of many parameters, as the optimizer has them."""
        zero = self.engine.optimizer
        flats: list[Tensor] = (
            zero.single_partition_of_fp32_groups
            if self._stage == 2
            else zero.fp32_partitioned_groups_flat
        )
        return flats

    def _flat_states(self) -> list[dict[str, Tensor]]:
        return [self.optimizer.state[flat] for flat in self._flats()]

    def _make_states(self) -> None:
        """The optimizer's state before its first step, as AdamW makes it at that step.

        The engine ties parameters to states after the first update of the first group, when the
        other groups would have none yet.
        """
        for flat in self._flats():
            self.optimizer.state[flat] = {
                "step": torch.zeros((), dtype=torch.float32, device=flat.device)
            } | {kind: torch.zeros_like(flat) for kind in _MOMENTS}
        if self._stage == 2:
            zero = self.engine.optimizer
            for group, flat in zip(zero.bit16_groups, self._flats(), strict=True):
                self._deepspeed.utils.lazy_init_hp_params_optimizer_state(
                    group, flat, self.optimizer.state
                )


def _deepspeed(stage: int) -> Any:
    try:
        deepspeed = importlib.import_module("deepspeed")
    except ImportError:
        raise ConfigError(
            "DeepSpeed is not installed",
            where=f"train.strategy: deepspeed-zero{stage}",
            mend="pip install 'assay[deepspeed]', or train.strategy: fsdp2",
        ) from None
    logging.getLogger("DeepSpeed").setLevel(logging.ERROR)
    # It calls functions of torch by their old names, at every step.
    warnings.filterwarnings("ignore", "`torch.distributed.*deprecated", FutureWarning)
    return deepspeed


def _config(stage: int, max_grad_norm: float) -> dict[str, Any]:
    return {
        "train_micro_batch_size_per_gpu": 1,
        "gradient_accumulation_steps": 1,
        # Passes of a step vary in number: `step` is the boundary, not a count.
        "managed_gradient_accumulation": False,
        "gradient_clipping": max_grad_norm,
        "zero_allow_untested_optimizer": True,
        "zero_optimization": {"stage": stage, "overlap_comm": False},
    }
