"""Which weights a run trains: all, those of the last layers, or the head alone."""

from __future__ import annotations

import re

from torch import nn

from assay.config import TrainConfig
from assay.errors import ConfigError
from assay.model.head import widen_trained
from assay.model.reward_model import RewardModel

_FOLLOWS = re.compile(r"norm|ln_f|^ln$")
_PRECEDES = re.compile(r"embed")


def choose_trained(model: RewardModel, config: TrainConfig) -> None:
    """Freeze what the recipe does not train. Frozen weights get no gradient, and no graph is kept
    below the first that is trained. What is trained is held in float32 at least.

    Raises:
        ConfigError: the model has fewer layers than are to be trained, or none are found.
    """
    if config.freeze == "none" and config.top_layers is None:
        return
    model.backbone.requires_grad_(False)
    for name, module in model.backbone.named_children():
        if name == "pooler":  # Of an encoder's head, as transformers has it.
            module.requires_grad_(True)
    if config.top_layers is not None:
        for module in _top_of(model, config.top_layers):
            module.requires_grad_(True)
    widen_trained(model)


def _top_of(model: RewardModel, count: int) -> list[nn.Module]:
    """The last layers of a model, and the norms that follow them."""
    classifier = model.classifier
    depth = int(getattr(classifier.config.get_text_config(), "num_hidden_layers", 0))
    stacks = [
        (parent, module)
        for parent in classifier.modules()
        for module in parent.children()
        if isinstance(module, nn.ModuleList) and len(module) == depth
    ]
    where = "train.top_layers"
    if len(stacks) != 1:
        raise ConfigError(
            f"the layers of {type(classifier).__name__} are not one stack of {depth}",
            where=where,
            mend="leave it out, or train with lora",
        )
    if count > depth:
        raise ConfigError(
            f"{count} layers are to be trained, and the model has {depth}",
            where=where,
            mend=f"set it to at most {depth}",
        )
    parent, stack = stacks[0]
    following = [
        module
        for name, module in parent.named_children()
        if _FOLLOWS.search(name) and not _PRECEDES.search(name)
    ]
    return [*list(stack)[depth - count :], *following]
