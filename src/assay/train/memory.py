"""How many tokens fit into one training pack."""

from __future__ import annotations

import re
import resource
import sys
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from assay.config import TrainConfig
from assay.machine import available_memory
from assay.model.lanes import lanes_of
from assay.model.reward_model import RewardModel
from assay.notices import warn
from assay.train.random_state import drawn_aside

_LARGEST = {"cpu": 2560, "cuda": 16384}
"""Beyond this a pack gains no speed: matrix products are at their peak rate. (On a CPU steps of
2,250 and of 4,600 tokens take 0.9 times as long as in packs of 2,048, and no less with 3,072.)"""
_PROBES = (32, 96)
"""Tokens of the two forward passes of the probe; the difference is free of constant parts."""

_GATHERED = 2.0
"""What a windowed layer keeps of gathered keys and masks comes on top of what the probe sees.
Measured at width 256: in all 1.2 times that for 2 responses to a prompt, 1.75 for 16."""


@dataclass(frozen=True, slots=True)
class Budget:
    """Tokens of a pack, and the words that say why."""

    max_tokens: int
    reason: str


def training_budget(model: RewardModel, config: TrainConfig) -> Budget:
    """Tokens of one pack: the recipe's, or (`auto`) what half of the free memory holds.

    Never below `max_length`, since a sequence is not cut.
    """
    if config.max_tokens_per_pack != "auto":
        return Budget(config.max_tokens_per_pack, "by the recipe")
    free = max(free_bytes(model.device) - optimizer_bytes(model), 0)
    per_token = kept_per_token(model, config)
    fits = int(0.5 * free / per_token)
    largest = _LARGEST.get(model.device.type, _LARGEST["cuda"])
    if fits < config.max_length:
        warn(
            f"memory may not suffice for train.max_length {config.max_length}: {fits} tokens fit "
            "into half of what is free; lower it, or set train.gradient_checkpointing: true"
        )
    return Budget(
        max(config.max_length, min(fits, largest)),
        f"auto: {per_token / 2**10:.0f} KiB a token, {free / 2**30:.1f} GiB free",
    )


def kept_per_token(model: RewardModel, config: TrainConfig) -> float:
    """Bytes that the backward pass needs of each token, measured on short forward passes.

    The passes are too short for a sliding window, whose layers keep gathered keys and masks: they
    are allowed for. What grows with the square of the length (attention that is written out, for
    softcaps and sinks) is not in it; half of the memory is left for that, and for what comes and
    goes.
    """
    if config.gradient_checkpointing:
        return _kept_inputs(model)
    few, many = (min(tokens, config.max_length) for tokens in _PROBES)
    if few == many:
        kept = _kept_bytes(model, many) / many
    else:
        kept = (_kept_bytes(model, many) - _kept_bytes(model, few)) / (many - few)
    return max(kept, 1) * (_GATHERED if _gathers_keys(model, config.max_length) else 1)


def peak_bytes(device: torch.device) -> int:
    """The most memory that this process has held: of the GPU, else resident."""
    if device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(device))
    status = Path("/proc/self/status")
    if status.exists():
        peak = re.search(r"^VmHWM:\s+(\d+) kB", status.read_text(), re.MULTILINE)
        if peak is not None:
            return int(peak[1]) * 1024
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def _kept_bytes(model: RewardModel, tokens: int) -> int:
    """Bytes of what autograd keeps in one forward pass, weights left out."""
    # Not by address: tensors on the meta device have none.
    weights = {p.untyped_storage()._cdata for p in model.parameters()}
    kept: dict[int, int] = {}
    alive: list[Tensor] = []

    def count(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage._cdata not in weights:
            kept[storage._cdata] = storage.nbytes()
            alive.append(tensor)  # What is freed could come again, and count once.
        return tensor

    ids = tuple(
        index % model.classifier.config.get_text_config().vocab_size for index in range(tokens)
    )
    batch = model.engine.batch([ids], [0], model.pad_id, model.device)
    was_training = model.training
    model.train()  # Dropout of adapters keeps its masks.
    with (
        drawn_aside(model.device),
        torch.enable_grad(),
        torch.autograd.graph.saved_tensors_hooks(count, lambda tensor: tensor),
    ):
        model(batch)
    model.train(was_training)
    return sum(kept.values())


def _gathers_keys(model: RewardModel, max_length: int) -> bool:
    """Whether some layer of a pack computes attention segment by segment over gathered keys."""
    if model.engine.attention is None:
        return False
    config = model.classifier.config.get_text_config()
    windowed = getattr(config, "use_sliding_window", True)
    window = getattr(config, "sliding_window", None) if windowed else None
    return model.device.type != "cpu" or (window is not None and window < max_length)


def _kept_inputs(model: RewardModel) -> int:
    """Under checkpointing a layer keeps its input, which no hook sees, and one is computed again.

    A layer keeps about 16 vectors of the hidden width and 5 of the intermediate one.
    """
    config = model.classifier.config.get_text_config()
    hidden = int(config.hidden_size)
    inner = int(getattr(config, "intermediate_size", None) or 4 * hidden)
    width = int(model.classifier.get_input_embeddings().weight.element_size())
    return (int(config.num_hidden_layers) * hidden + 16 * hidden + 5 * inner) * width


def optimizer_bytes(model: RewardModel) -> int:
    """Gradients (of a round, too, where they are summed apart) and two moments, not yet allocated
    when the budget is chosen."""
    copies = 3 if lanes_of(model) == 1 else 4
    return sum(copies * p.numel() * p.element_size() for p in model.parameters() if p.requires_grad)


def free_bytes(device: torch.device) -> int:
    """Bytes that can be had: of the GPU, else of main memory."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    return available_memory()
