"""Writing models: a plain Hugging Face directory, or a PEFT adapter beside its base."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from assay.errors import ConfigError
from assay.model.adapters import on_whole_base
from assay.model.classifier import quiet_transformers
from assay.model.membership import keep_mean
from assay.model.reward_model import RewardModel

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def save_plain(model: RewardModel, directory: Path, dtype: torch.dtype | None = None) -> None:
    """Write `<Family>ForSequenceClassification` with tokenizer, template and metadata.

    Adapters are merged into a copy; the model in memory stays as it is. Those of a quantised
    backbone are merged into the backbone as it was before (QLoRA), which rounds nothing but
    computes what was not trained on.

    Args:
        model: the model.
        directory: an existing directory.
        dtype: of all saved weights; None saves them as they are held.

    Raises:
        ConfigError: it is in 8 bits.
    """
    if model.precision != "full":
        raise ConfigError(
            "a model in 8 bits is for scoring, and what it was is gone",
            where=directory,
            mend="load it again without precision, and save that",
        )
    keep_mean(model)
    classifier = _merged(model) if is_adapter(model) else model.classifier
    state = classifier.state_dict()
    if dtype is not None:
        state = {
            name: tensor.to(dtype) if tensor.is_floating_point() else tensor
            for name, tensor in state.items()
        }
    held = classifier.config.dtype
    try:
        with quiet_transformers():
            classifier.save_pretrained(directory, state_dict=state)
            # It writes the dtype of the weights in memory; `auto` must find that of the file.
            classifier.config.dtype = dtype or held
            classifier.config.save_pretrained(directory)
    finally:
        classifier.config.dtype = held
    _write_reader(model, directory)


def save_adapter(model: RewardModel, directory: Path) -> None:
    """Write the PEFT adapter with the head, tokenizer, template and metadata."""
    keep_mean(model)
    with quiet_transformers():
        model.inner.save_pretrained(str(directory), save_embedding_layers=False)  # type: ignore[operator]
    _write_reader(model, directory)


def is_adapter(model: RewardModel) -> bool:
    """Whether the inner model is a PEFT model."""
    return hasattr(model.inner, "peft_config")


def _merged(model: RewardModel) -> PreTrainedModel:
    if getattr(model.classifier, "is_quantized", False):
        return on_whole_base(model).merge_and_unload()  # type: ignore[operator]
    return copy.deepcopy(model.inner).merge_and_unload()  # type: ignore[operator]


def _write_reader(model: RewardModel, directory: Path) -> None:
    tokenizer = copy.deepcopy(model.renderer.tokenizer)
    tokenizer.chat_template = model.renderer.template.jinja
    tokenizer.save_pretrained(str(directory))
    model.metadata.write(directory)
    if model.heads is not None:
        model.heads.write(directory)
