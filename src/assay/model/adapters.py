"""PEFT adapters: read from their directories, whoever wrote them, and put around a model."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError
from torch import nn

from assay.config import LoraConfig
from assay.errors import ConfigError, ModelError, first_line
from assay.model.classifier import Opened, open_classifier, put_head, quiet_transformers, say_offset
from assay.model.foreign import foreign_head, unread_head
from assay.model.head import widen, widen_trained
from assay.model.locate import locate_base
from assay.model.metadata import Metadata
from assay.notices import notice

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from assay.model.reward_model import RewardModel

_HEADS = ("score.weight", "classifier.weight", "classifier.bias", "classifier.out_proj.weight")
_HEAD_MODULES = ("score", "classifier")
_OF_LANGUAGE_MODELS = (".lm_head.", ".embed_out.")
"""Layers that give the next token's probabilities: an adapter of one changes no reward."""


@dataclass(frozen=True, slots=True)
class OpenedAdapter:
    """A PEFT model, the offset of its rewards, and the directory that its head came from."""

    model: nn.Module
    offset: float
    head_place: Path


def open_adapter(path: Path, base: str | None, dtype: torch.dtype | str) -> OpenedAdapter:
    """An adapter on its base model, with the head of the adapter, of a file beside it (LLaMA-
    Factory), or, where it has none, of its base.

    Raises:
        ModelError: there is no head anywhere, or adapter and base do not fit.
    """
    names = adapter_names(path)
    with_head = has_head(names)
    beside = None if with_head else foreign_head(path)
    base_path = locate_base(path, base)
    opened = open_classifier(base_path, dtype, keep_head=not with_head and beside is None)
    offset = _offset_of(path) if with_head else opened.offset
    if beside is not None:
        put_head(opened.classifier, beside, path)
        offset = beside.offset
    elif not with_head:
        _use_head_of_base(path, base_path, opened)
    widen(opened.classifier)  # The adapter's head is float32 whatever its base is.
    model = put_adapter(opened.classifier, path, base_path, names, with_head=with_head)
    own_head = with_head or beside is not None
    return OpenedAdapter(model, offset, path if own_head else base_path)


def put_adapter(
    base: PreTrainedModel, path: Path, base_path: Path, names: Sequence[str], *, with_head: bool
) -> nn.Module:
    """A PEFT model of an adapter's directory around its base.

    Raises:
        ModelError: adapter and base do not fit, or the adapter is of virtual tokens.
    """
    from peft import PeftModel, get_peft_model_state_dict

    config = _config_of(path, with_head=with_head)
    with quiet_transformers(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Found missing adapter keys")  # An error, below.
        try:
            model: nn.Module = PeftModel.from_pretrained(base, str(path), config=config)
        except (OSError, ValueError, RuntimeError, KeyError, TypeError, AttributeError) as error:
            what = " ".join(str(error).split()[:30])
            raise ModelError(
                f"the adapter does not fit {base_path} ({what})",
                where=path,
                mend="name the base model that it was trained on with --base",
            ) from None
    wanted = set(get_peft_model_state_dict(model, save_embedding_layers=False))
    adapted = {
        name
        for name in names
        if "lora_" in name and not any(layer in name for layer in _OF_LANGUAGE_MODELS)
    }
    odd = wanted - set(names) or adapted - wanted
    if odd:
        raise ModelError(
            f"the adapter and {base_path} do not fit: {sorted(odd)[0]} stands in one only",
            where=path,
            mend="fetch the adapter again, or name its base model with --base",
        )
    unread = unread_head(set(names) - wanted)
    if unread is not None:
        raise ModelError(
            f"the adapter holds a head, or a part of one, that Assay cannot read ({unread})",
            where=path,
            mend="train it again with a head of one row without a bias: score.weight [1, width]",
        )
    return model


def has_head(names: Sequence[str]) -> bool:
    """Whether an adapter's tensors hold a reward head."""
    return any(name.endswith(_HEADS) for name in names)


def adapter_names(path: Path) -> list[str]:
    """The names of an adapter's tensors.

    Raises:
        ModelError: they cannot be read.
    """
    from safetensors import safe_open

    try:
        with safe_open(path / "adapter_model.safetensors", "pt") as file:
            return list(file.keys())
    except (OSError, ValueError, SafetensorError) as error:
        raise ModelError(
            f"no readable adapter_model.safetensors ({error})",
            where=path,
            mend="copy or train the adapter again"
            if not (path / "adapter_model.bin").exists()
            else "adapter_model.bin is a pickle, which Assay does not open; save it as safetensors",
        ) from None


def new_adapters(
    classifier: PreTrainedModel, lora: LoraConfig, *, base: Path, fresh: Sequence[str]
) -> nn.Module:
    """Adapters around a classifier; the head, and all of it that is `fresh`, is trained whole.

    Raises:
        ConfigError: it has none of the layers that the recipe names.
    """
    from peft import LoraConfig as PeftConfig
    from peft import TaskType, get_peft_model

    # PEFT writes down the first: a relative path would bind the adapter to one directory.
    classifier.name_or_path = classifier.config._name_or_path = str(base.resolve())
    config = PeftConfig(
        task_type=TaskType.SEQ_CLS,
        r=lora.r,
        lora_alpha=lora.alpha,
        lora_dropout=lora.dropout,
        target_modules=lora.target_modules,
        # PEFT adds these two by itself.
        modules_to_save=[name for name in fresh if name not in _HEAD_MODULES] or None,
        base_model_name_or_path=str(base.resolve()),
    )
    try:
        with quiet_transformers():
            model: nn.Module = get_peft_model(classifier, config)
    except ValueError as error:
        raise ConfigError(
            f"LoRA cannot be added ({first_line(error)})",
            where="lora.target_modules",
            mend="name linear layers of this model, or all-linear",
        ) from None
    widen_trained(model)
    return model


def on_whole_base(model: RewardModel) -> nn.Module:
    """The trained adapters of a model around its base, loaded again as its files have it."""
    from peft import get_peft_model, get_peft_model_state_dict, set_peft_model_state_dict

    trained: Any = model.inner
    config = trained.peft_config[trained.active_adapter]
    dtype = model.compute_dtype or torch.float32
    opened = open_classifier(Path(config.base_model_name_or_path), dtype, keep_head=False)
    state = get_peft_model_state_dict(trained, save_embedding_layers=False)
    with quiet_transformers():
        whole: nn.Module = get_peft_model(opened.classifier, copy.deepcopy(config))
        set_peft_model_state_dict(whole, {name: t.cpu() for name, t in state.items()})
    return whole


def _config_of(path: Path, *, with_head: bool) -> Any:
    """PEFT's configuration of an adapter, as one that a classifier can carry.

    An adapter of a language model says so, and PEFT would look for what only those have.

    Raises:
        ModelError: it cannot be read, or is an adapter of virtual tokens.
    """
    from peft import PeftConfig, TaskType

    try:
        config = PeftConfig.from_pretrained(str(path))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelError(
            f"its adapter_config.json cannot be read ({first_line(error)})",
            where=path,
            mend="copy or train the adapter again",
        ) from None
    if config.is_prompt_learning or config.is_adaption_prompt:
        raise ModelError(
            "the adapter adds virtual tokens, which Assay does not compute",
            where=path,
            mend="merge it with PEFT if it can be, or train a LoRA adapter",
        )
    if config.task_type != TaskType.SEQ_CLS or not with_head:
        config.task_type = None
    saved = getattr(config, "modules_to_save", None)
    if saved:
        dropped = {"lm_head", "embed_out"} | (set() if with_head else set(_HEAD_MODULES))
        config.modules_to_save = [name for name in saved if name not in dropped] or None
    return config


def _use_head_of_base(path: Path, base_path: Path, opened: Opened) -> None:
    if opened.fresh:
        raise ModelError(
            "the adapter holds no reward head, and its base has none",
            where=path,
            mend="it was saved without modules_to_save; train it again with Assay",
        )
    notice(f"{path}: the adapter holds no reward head; taking that of its base, {base_path}")


def _offset_of(path: Path) -> float:
    metadata = Metadata.read(path)
    offset = 0.0 if metadata is None else metadata.reward_offset
    say_offset(path, offset)
    return offset
