"""How many tokens fit into one training pass."""

from __future__ import annotations

import os
import re
from pathlib import Path

import torch

from assay.config import TrainConfig
from assay.model.reward_model import RewardModel

_LARGEST = {"cpu": 2048, "cuda": 16384}
"""Beyond this a pass gains no speed: matrix products are at their peak rate."""


def training_budget(model: RewardModel, config: TrainConfig) -> int:
    """Tokens of one pass: the recipe's, or (`auto`) what half of the free memory holds.

    Never below `max_length`, since a sequence is not cut.
    """
    if config.max_tokens_per_pack != "auto":
        return config.max_tokens_per_pack
    free = _free_bytes(model.device) - _optimizer_bytes(model)
    fits = int(0.5 * max(free, 0) / _bytes_per_token(model, config.gradient_checkpointing))
    largest = _LARGEST.get(model.device.type, _LARGEST["cuda"])
    return max(config.max_length, min(fits, largest))


def _bytes_per_token(model: RewardModel, checkpointing: bool) -> int:
    """Activations kept for the backward pass, per token.

    A layer keeps about 16 vectors of the hidden width and 5 of the intermediate width (inputs of
    norms and linear layers, rotary halves, attention's q, k, v and output, SwiGLU's three), or
    just its input under checkpointing.
    """
    config = model.classifier.config.get_text_config()
    hidden = int(config.hidden_size)
    inner = int(getattr(config, "intermediate_size", None) or 4 * hidden)
    width = 2 if model.compute_dtype == torch.bfloat16 else 4
    layer = hidden if checkpointing else 16 * hidden + 5 * inner
    return int(config.num_hidden_layers) * layer * width


def _optimizer_bytes(model: RewardModel) -> int:
    """Gradients and two moments, not yet allocated when the budget is chosen."""
    return sum(3 * p.numel() * p.element_size() for p in model.parameters() if p.requires_grad)


def _free_bytes(device: torch.device) -> int:
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    meminfo = Path("/proc/meminfo")
    if meminfo.exists():
        # What can be had without swapping: free memory and what the page cache gives back.
        available = re.search(r"^MemAvailable:\s+(\d+) kB", meminfo.read_text(), re.MULTILINE)
        if available is not None:
            return int(available[1]) * 1024
    return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
