"""Which engine a model gets: the fastest that is right for it, and never a wrong one.

tree, then packed, then padded. A rung is taken when nothing in the model's structure speaks
against it (the gate) and its rewards and gradients are right on a small twin (the self-check). On a
GPU its kernels are checked, too, and wrong ones left out.
"""

from __future__ import annotations

from dataclasses import dataclass

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


@dataclass(frozen=True)
class Rung:
    """What a model computes with, and why nothing faster."""

    engine: EngineName
    faults: dict[EngineName, str]
    """Of the engines above, and of `padded` itself where nothing vouches for it."""
    wrong: dict[Kernel, Fault]
    """The attention kernels that are left out."""

    @property
    def doubt(self) -> str | None:
        """What speaks against the engine itself, below which there is none."""
        fault = self.faults.get(self.engine)
        how = "compare a few rewards with those of texts scored one by one"
        return None if fault is None else f"engine {self.engine}: {fault}; {how}"

    @property
    def kernels_left_out(self) -> list[tuple[str, bool]]:
        """A sentence for each, and whether the kernel was compared, or could not be."""
        return [
            (
                f"attention without the kernel {kernel}, which "
                f"{'is not right here' if compared else 'could not be checked, this time'}: {said}",
                compared,
            )
            for kernel, (said, compared) in self.wrong.items()
        ]


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
    rung = rung_of(model, choice, device)
    above = next(iter(rung.faults.items()), None)
    if rung.doubt is not None:
        warn(rung.doubt)
    elif above is not None:
        notice(f"engine {rung.engine}, since {above[0]} is not right for this model: {above[1]}")
    for text, compared in rung.kernels_left_out:
        if compared or text not in _said:
            notice(text)
        if not compared:
            _said.add(text)
    model.use_engine(rung.engine, rung.wrong)
    model.engine_reason = None if above is None else above[1]


def rung_of(model: RewardModel, choice: str = "auto", device: torch.device | None = None) -> Rung:
    """What `choose_engine` would give a model, which stays as it is.

    Raises:
        ConfigError: as there.
    """
    named = [name for name in ENGINES if choice in ("auto", name)]
    if not named:
        raise ConfigError(f"unknown engine '{choice}'", mend=f"known: auto, {', '.join(ENGINES)}")
    faults: dict[EngineName, str] = {}
    for name in named:
        fault = fault_in(model, name)
        if fault is None:
            break
        faults[name] = fault
    if name in faults and name != "padded":
        raise ConfigError(
            f"engine {name} is not right for this model: {faults[name]}", mend="use --engine auto"
        )
    wrong: dict[Kernel, Fault] = {}
    if ENGINES[name].attention is not None:
        wrong = wrong_kernels(model, model.device if device is None else device)
    return Rung(name, faults, wrong)


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
