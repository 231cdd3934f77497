"""AdamW and its schedule."""

from __future__ import annotations

import re
from collections.abc import Iterable

import torch
from torch import nn
from torch.optim.lr_scheduler import LRScheduler

from assay.config import TrainConfig
from assay.train.plan import part_of_steps


def build_optimizer(
    parameters: Iterable[tuple[str, nn.Parameter]], config: TrainConfig
) -> torch.optim.AdamW:
    """AdamW over the trainable parameters; biases, norms and whatever is 1-D do not decay."""
    decaying: list[nn.Parameter] = []
    others: list[nn.Parameter] = []
    for name, parameter in parameters:
        if parameter.requires_grad:  # Biases of experts are 2-D, norms of heads may be.
            stays = parameter.ndim <= 1 or re.search("bias$|norm", name)
            (others if stays else decaying).append(parameter)
    groups = (decaying, config.weight_decay), (others, 0.0)
    return torch.optim.AdamW(
        [{"params": some, "weight_decay": decay} for some, decay in groups if some],
        lr=config.learning_rate,
        betas=(config.adam_beta1, config.adam_beta2),
        eps=config.adam_epsilon,
        fused=True,
    )


def build_schedule(
    optimizer: torch.optim.Optimizer, config: TrainConfig, num_steps: int
) -> LRScheduler:
    """The named schedule of transformers: step n trains at the rate after n steps of it."""
    from transformers import get_scheduler

    schedule: LRScheduler = get_scheduler(
        config.lr_scheduler_type,
        optimizer,
        # A run of one step would train at rate 0, hence not at all.
        num_warmup_steps=min(part_of_steps(config.warmup_ratio, num_steps), num_steps - 1),
        num_training_steps=num_steps,
    )
    return schedule
