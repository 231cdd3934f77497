"""From the recipe's words to the engine that holds the weights."""

from __future__ import annotations

import hashlib
from collections.abc import Callable

import torch

from assay.config import StrategyChoice, TrainConfig
from assay.errors import ConfigError
from assay.model.reward_model import RewardModel
from assay.train.strategy.single import Single, Strategy
from assay.train.strategy.team import Team

MOVES_ITSELF = ("fsdp2",)
"""Strategies that take the model in main memory, and move what a device is to hold."""
_EDGE = 4096


def strategy_name(choice: StrategyChoice, team: Team) -> StrategyChoice:
    """What a recipe's choice means for so many processes; `auto` is ddp for several.

    Raises:
        ConfigError: the choice is for one process, or for several.
    """
    if choice == "auto":
        return "single" if team.size == 1 else "ddp"
    if choice == "single" and team.size > 1:
        raise ConfigError(
            f"single is for one process, and there are {team.size}, which would each train alone",
            where="train.strategy",
            mend="take auto",
        )
    if choice != "single" and team.size == 1:
        raise ConfigError(
            f"{choice} is for several processes, and there is one",
            where="train.strategy",
            mend="start torchrun --nproc-per-node N -m assay train ..., or take auto",
        )
    return choice


def wrap(
    model: RewardModel,
    make_optimizer: Callable[[], torch.optim.Optimizer],
    config: TrainConfig,
    team: Team,
    device: torch.device,
) -> Strategy:
    """Hand a model to the engine of a recipe, and see that all processes start alike.

    Args:
        model: whole, the same everywhere; weights may be in main memory.
        make_optimizer: of the model's parameters as the engine holds them.
        config: names the strategy.
        team: the processes.
        device: where to compute.

    Raises:
        ConfigError: the strategy does not fit the model or the processes, or its package is not
            installed.
    """
    name = strategy_name(config.strategy, team)
    if name == "single":
        return Single(model, make_optimizer(), team)
    team.same(
        digest(model),
        "the model at the start",
        mend="give all machines the same files of the model",
    )
    if name == "ddp":
        from assay.train.strategy.ddp import Ddp

        return Ddp(model, make_optimizer, team)
    if name == "fsdp2":
        from assay.train.strategy.fsdp2 import Fsdp2

        return Fsdp2(model, make_optimizer, team, device)
    from assay.train.strategy.deepspeed import DeepSpeed

    return DeepSpeed(
        model,
        make_optimizer,
        team,
        stage=2 if name == "deepspeed-zero2" else 3,
        max_grad_norm=config.max_grad_norm,
    )


@torch.no_grad()
def digest(model: RewardModel) -> str:
    """A hash of all weights: of each its name, its bits summed up, and those of its ends."""
    found = hashlib.sha256()
    for name, parameter in model.named_parameters():
        bits = parameter.detach().contiguous().view(torch.uint8).flatten()
        width = 8 if bits.numel() % 8 == 0 else 1
        summed = int(bits.view(torch.int64 if width == 8 else torch.uint8).sum(dtype=torch.int64))
        ends = torch.cat([bits[:_EDGE], bits[-_EDGE:]]).cpu().numpy().tobytes()
        found.update(f"{name} {tuple(parameter.shape)} {parameter.dtype} {summed}".encode() + ends)
    return found.hexdigest()
