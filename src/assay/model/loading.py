"""Opening models: for training (a head is made if none is there), and for scoring (it must be)."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import nn

import assay
from assay.config import EngineChoice, LoraConfig, ModelConfig
from assay.errors import ConfigError, ModelError, first_line
from assay.model.adapters import new_adapters, open_adapter
from assay.model.classifier import Opened, config_of, open_classifier
from assay.model.head import initialise_head, widen
from assay.model.heads import Heads
from assay.model.ladder import choose_engine
from assay.model.locate import locate_model, refuse_base
from assay.model.metadata import Metadata
from assay.model.padding import choose_pad_token
from assay.model.precision import DTYPES, check_dtype, faster_dtype
from assay.model.quantised import quantisation
from assay.model.reader import locate_for_training, reader_for_training, reader_of
from assay.model.reward_model import RewardModel
from assay.notices import notice


def load_reward_model(
    path: str,
    *,
    base: str | None = None,
    template: str | None = None,
    device: str = "auto",
    dtype: str = "auto",
    engine: str = "auto",
    precision: str = "full",
) -> RewardModel:
    """Open a trained reward model for evaluation and scoring.

    Args:
        path: whatever `--model` takes: a run, a checkpoint, an adapter, a directory, a hub id.
        base: the base model of an adapter, if it is no longer where the adapter says.
        template: reads conversations with another template than the model's own.
        device: `auto`, `cpu`, `cuda`, ...
        dtype: `auto` (float32 on a CPU, else as saved) or the name of one.
        engine: `auto` (the fastest that is right for the model), `tree`, `packed`, `padded`.
        precision: `full` (what `dtype` says), or `int8`: linear layers in 8 bits, on a CPU.

    Raises:
        ModelError: no model there, or one without a trained reward head.
        ConfigError: no such device, dtype, engine or precision, an engine that is wrong for the
            model, or 8 bits where they cannot be or gain nothing.
    """
    if precision not in ("full", "int8"):
        raise ConfigError(f"unknown precision '{precision}'", mend="known: full, int8")
    target = resolve_device(device)
    model = open_reward_model(path, _scoring_dtype(dtype, target), base=base, template=template)
    set_padding(model, scoring=True)
    model.eval()
    choose_engine(model, engine, target)
    model.to(target)
    if precision == "int8":
        from assay.model.int8.precision import quantise

        quantise(model)
    return model


def open_reward_model(
    path: str, dtype: torch.dtype | str, *, base: str | None = None, template: str | None = None
) -> RewardModel:
    """A trained reward model as its files have it, without padding token and engine, on the CPU.

    Raises:
        ModelError: no model there, or one without a trained reward head.
        ConfigError: `base` is given for a whole model.
    """
    located = locate_model(path)
    refuse_base(located, base)
    head_place = located.path
    if located.kind == "adapter":
        adapter = open_adapter(located.path, base, dtype)
        inner, offset, head_place = adapter.model, adapter.offset, adapter.head_place
    else:
        opened = open_classifier(located.path, dtype)
        if opened.fresh:
            raise ModelError(
                "no reward head in its files: this is a language model that was never trained "
                "to give rewards",
                where=located.path,
                mend="train it first: assay train --model.path ...",
            )
        inner, offset = opened.classifier, opened.offset
    renderer, metadata = reader_of(located, template, base)
    model = RewardModel(inner, renderer, replace(metadata, reward_offset=offset))
    model.heads = Heads.read(head_place)
    return model


def check_config(config: ModelConfig) -> None:
    """Refuse a model that cannot be trained, as far as its config.json tells, before data are read.

    Raises:
        ModelError: as the message says.
    """
    config_of(locate_for_training(config).path)


def build_for_training(
    config: ModelConfig,
    lora: LoraConfig | None,
    *,
    seed: int,
    max_length: int,
    device: str,
    engine: EngineChoice = "auto",
    frozen: bool = False,
) -> RewardModel:
    """Open a base model (or a reward model, whose head is then kept) for training.

    Full training holds float32 weights and computes under autocast where `config.dtype` is
    narrower; LoRA holds the frozen backbone in `config.dtype` and adapters and head in float32.

    Args:
        config: the model and how it reads.
        lora: adapters, or None.
        seed: of the head and the adapters.
        max_length: what training keeps to; noted in the metadata.
        device: where to.
        engine: as in the recipe.
        frozen: the backbone will not be trained, and is held in `config.dtype`, too.

    Raises:
        ModelError, TemplateError, ResourceError, ConfigError: as their messages say.
    """
    located = locate_for_training(config)
    target = resolve_device(device)
    dtype = DTYPES[resolve_dtype(config.dtype, target)]
    quantised = quantisation(lora, target)
    # Of what is drawn outside `initialise_head`: adapters, and the heads of encoders.
    torch.manual_seed(seed)
    held = dtype if lora is not None or frozen else torch.float32
    opened = open_classifier(located.path, held, keep_head=config.head == "keep", **quantised)
    opened = _with_head(opened, config, seed)
    classifier = opened.classifier
    renderer = reader_for_training(config)
    template = renderer.template
    metadata = Metadata(
        template_name=template.name,
        template=template.jinja,
        template_hash=template.hash,
        special_tokens_in_content=config.special_tokens_in_content,
        base=config.path,
        max_length=max_length,
        assay_version=assay.__version__,
        thinking=config.thinking,
        reward_offset=opened.offset,
    )
    classifier.config.problem_type = "regression"
    model = RewardModel(classifier, renderer, metadata)
    model.fresh_head = bool(opened.fresh)
    set_padding(model, may_grow=lora is None)
    if lora is not None:
        model.inner = new_adapters(classifier, lora, base=located.path, fresh=opened.fresh)
    if dtype != torch.float32:
        model.compute_dtype = dtype
    choose_engine(model, engine, target)
    return model if quantised else model.to(target)


def resolve_device(name: str) -> torch.device:
    """`auto` takes a GPU if there is one.

    Raises:
        ConfigError: there is no such device, or not here.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.ones(1, device=device).item()  # A device that holds no numbers has no rewards.
    except (RuntimeError, AssertionError) as error:
        raise ConfigError(
            f"no device '{name}' here ({first_line(error)})", mend="use cpu, or auto"
        ) from None
    return device


def resolve_dtype(name: str, device: torch.device) -> str:
    """`auto` takes bfloat16 where a short probe finds it faster, and says what it took."""
    if name != "auto":
        return name
    choice = faster_dtype(device)
    notice(f"model.dtype auto: {choice.dtype} ({choice.reason})")
    return choice.dtype


def _scoring_dtype(name: str, device: torch.device) -> torch.dtype | str:
    check_dtype(name)
    if name == "auto":
        return torch.float32 if device.type == "cpu" else "auto"
    return DTYPES[name]


def _with_head(opened: Opened, config: ModelConfig, seed: int) -> Opened:
    """The head that was there, where the recipe keeps it and it was, or a new one."""
    classifier = opened.classifier
    if config.head == "keep" and not opened.fresh:
        notice(f"{config.path}: keeping the reward head that is in its files")
        widen(classifier)
        return opened
    fresh = opened.fresh
    if not fresh:
        notice(f"{config.path}: drawing a new reward head in place of the one in its files")
        fresh = _redraw(classifier)
    initialise_head(classifier, seed)
    return Opened(classifier, fresh)


def _redraw(classifier: nn.Module) -> list[str]:
    """Draw all modules outside the backbone anew, as transformers does; returns their names."""
    prefix = str(classifier.base_model_prefix)
    outside = [name for name, _ in classifier.named_children() if name != prefix]
    for name in outside:
        for module in classifier.get_submodule(name).modules():
            for parameter in module.parameters(recurse=False):
                vars(parameter).pop("_is_hf_initialized", None)  # Else it is left as loaded.
            classifier._init_weights(module)  # type: ignore[operator]
    return outside


def set_padding(model: RewardModel, *, may_grow: bool = False, scoring: bool = False) -> None:
    """Give model and tokenizer a padding token that no text ends with.

    Args:
        model: the model.
        may_grow: a token may be added where none will do.
        scoring: any token will do: rewards are read at known positions.

    Raises:
        ModelError: none will do.
    """
    tokenizer = model.renderer.tokenizer
    # Transformers gives the embedding of the base's padding token no gradient, and where that is
    # the end token it would never train. Padded positions reach no reward, and need no such rule.
    model.classifier.get_input_embeddings().padding_idx = None
    config = model.classifier.config.get_text_config()
    if model.head_weight is None and tokenizer.pad_token is not None:
        # An encoder reads by its mask, and some count positions from the padding id.
        if config.pad_token_id is None:
            config.pad_token_id = tokenizer.pad_token_id
        return
    try:
        pad = choose_pad_token(
            model.renderer, model.classifier.config, model.num_ids, may_grow=may_grow
        )
    except ModelError:
        if not scoring:
            raise
        # Rewards are read at known positions, so that here any token can pad.
        pad = tokenizer.eos_token or tokenizer.convert_ids_to_tokens(0)
    tokenizer.pad_token = pad
    if tokenizer.pad_token_id >= model.num_ids:
        model.classifier.resize_token_embeddings(tokenizer.pad_token_id + 1, mean_resizing=False)
    config.pad_token_id = model.classifier.config.pad_token_id = tokenizer.pad_token_id
