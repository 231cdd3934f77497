"""Which engine a model gets: the fastest that is right for it, and never a wrong one.

tree, then packed, then padded. A rung is taken when nothing in the model's structure speaks
against it (the gate) and its rewards and gradients are right on a small twin (the self-check). On a
GPU its kernels are checked, too, and wrong ones left out.
"""

from __future__ import annotations

import torch
from torch import nn

from assay.errors import ConfigError
from assay.model.devicecheck import Fault, wrong_kernels
from assay.model.engine import ENGINES, EngineName
from assay.model.reward_model import RewardModel, reads_both_ways
from assay.model.selfcheck import verdict_on
from assay.notices import notice, warn
from assay.tree.attention import Kernel

_LAYER_TYPES = {"full_attention", "sliding_attention"}
_said: set[str] = set()
"""What was said of kernels that could not be checked: they are tried with every model."""
_COMPARE = "compare a few rewards with those of texts scored one by one"


def choose_engine(
    model: RewardModel, choice: str = "auto", device: torch.device | None = None
) -> None:
    """Give a model its engine, and say so where it is not the fastest one.

    Args:
        model: set to compute with the engine.
        choice: `auto`, or an engine by name.
        device: where it will compute; by default where it is.

    Raises:
        ConfigError: there is no such engine, or it is wrong for this model.
    """
    if choice != "auto":
        _take(model, _named(model, choice), device)
        return
    faults: list[tuple[EngineName, str]] = []
    for name in ENGINES:
        fault = fault_in(model, name)
        if fault is None:
            break
        faults.append((name, fault))
    if len(faults) == len(ENGINES):
        warn(f"engine padded: {faults[-1][1]}; {_COMPARE}")
    elif faults:
        notice(f"engine {name}, since {faults[0][0]} is not right for this model: {faults[0][1]}")
    _take(model, name, device)
    model.engine_reason = faults[0][1] if faults else None


def _take(model: RewardModel, name: EngineName, device: torch.device | None) -> None:
    """Compute with an engine, without the kernels that are wrong where the model will be."""
    wrong: dict[Kernel, Fault] = {}
    if ENGINES[name].attention is not None:
        wrong = wrong_kernels(model, model.device if device is None else device)
    for kernel, (said, compared) in wrong.items():
        why = "is not right here" if compared else "could not be checked, this time"
        text = f"attention without the kernel {kernel}, which {why}: {said}"
        if compared or text not in _said:
            notice(text)
        if not compared:
            _said.add(text)
    model.use_engine(name, wrong)


def _named(model: RewardModel, choice: str) -> EngineName:
    wanted = next((name for name in ENGINES if name == choice), None)
    if wanted is None:
        raise ConfigError(f"unknown engine '{choice}'", mend=f"known: auto, {', '.join(ENGINES)}")
    fault = fault_in(model, wanted)
    if fault is not None and wanted != "padded":
        raise ConfigError(
            f"engine {wanted} is not right for this model: {fault}", mend="use --engine auto"
        )
    if fault is not None:
        warn(f"engine padded: {fault}; {_COMPARE}")  # There is no other to fall back to.
    return wanted


def fault_in(model: RewardModel, engine: EngineName) -> str | None:
    """Why an engine is wrong for a model, or None.

    What the padded engine does is what transformers does: it needs no proof where there is none.
    """
    gated = obstacle(model) if engine != "padded" else None
    if gated is not None:
        return gated
    verdict = verdict_on(model, engine)
    return verdict.fault if verdict.compared or engine != "padded" else None


def obstacle(model: RewardModel) -> str | None:
    """What in a model's structure keeps it from computing packs; None if nothing does."""
    classifier, config = model.classifier, model.classifier.config.get_text_config()
    kinds = set(getattr(config, "layer_types", None) or ()) - _LAYER_TYPES
    if model.head_weight is None:
        return "its head is not one row over the last token"
    if reads_both_ways(config):
        return "its tokens see those after them"
    if not classifier._can_set_attn_implementation():
        return "its attention cannot be replaced"
    if kinds:
        return f"it has layers of the kind {', '.join(sorted(kinds))}"
    if getattr(config, "attention_chunk_size", None):
        return "its attention is cut into chunks"
    if any(isinstance(module, nn.Conv1d) for module in classifier.modules()):
        return "it has convolutions over the sequence"
    return None
