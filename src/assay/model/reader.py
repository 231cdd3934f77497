"""How a model reads, without its weights."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from assay.config import ModelConfig
from assay.data.rendering import Renderer, load_tokenizer
from assay.data.templates import resolve_template
from assay.errors import ConfigError, ModelError
from assay.model.locate import Located, locate_base, locate_model, refuse_base
from assay.model.metadata import Metadata
from assay.notices import notice, warn

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


def open_reader(
    model: str | None, tokenizer: str | None, template: str | None, base: str | None = None
) -> Renderer:
    """A renderer as a model, or a bare tokenizer with a template, would read.

    Raises:
        ConfigError: not exactly one of `model` and `tokenizer` is given, or a base for a whole
            model.
        TemplateError: no tokenizer there, or no such template.
    """
    if (model is None) == (tokenizer is None):
        raise ConfigError("give either --model or --tokenizer", mend="give one of the two")
    if model is not None:
        located = locate_model(model)
        refuse_base(located, base)
        return reader_of(located, template, base)[0]
    assert tokenizer is not None
    loaded = load_tokenizer(str(locate_model(tokenizer, needs_weights=False).path))
    return Renderer(loaded, resolve_template(template or "auto", loaded))


def reader_of(
    located: Located, template: str | None, base: str | None = None
) -> tuple[Renderer, Metadata]:
    """A trained model's renderer as its metadata says; a foreign one's by its own chat template.

    Raises:
        TemplateError: no tokenizer there, or no such template.
    """
    tokenizer = tokenizer_of(located, base)
    metadata = Metadata.read(located.path)
    resolved = resolve_template(template or "auto", tokenizer)
    if metadata is None:
        if template is None:
            notice(
                f"{located.path}: not saved by Assay; reading conversations with its own "
                f"chat template (hash {resolved.hash})"
            )
        metadata = Metadata(resolved.name, resolved.jinja, resolved.hash, "text", "unknown")
    elif resolved.hash != metadata.template_hash:
        warn(
            f"{located.path}: trained with template {metadata.template_name} "
            f"(hash {metadata.template_hash}), reading with {resolved.name} "
            f"(hash {resolved.hash}): rewards are not comparable"
        )
    else:
        resolved = replace(resolved, name=metadata.template_name)
    renderer = Renderer(tokenizer, resolved, metadata.special_tokens_in_content, metadata.thinking)
    return renderer, metadata


def tokenizer_of(located: Located, base: str | None) -> PreTrainedTokenizerBase:
    """A model's tokenizer; of a foreign adapter that has none that of its base.

    Raises:
        TemplateError: no tokenizer there.
    """
    directory = located.path
    if located.kind == "adapter" and not (directory / "tokenizer_config.json").exists():
        directory = locate_base(directory, base)
    return load_tokenizer(str(directory))


def locate_for_training(config: ModelConfig) -> Located:
    """The directory of the model that a recipe starts from.

    Raises:
        ModelError: there is none, or it is an adapter.
    """
    located = locate_model(config.path, config.revision)
    if located.kind == "adapter":
        raise ModelError(
            "is an adapter; training starts from a plain model",
            where=config.path,
            mend="name its base model or the run's model/, or make a plain one: assay merge",
        )
    return located


def reader_for_training(config: ModelConfig) -> Renderer:
    """How the model that a recipe starts from will read, without its weights.

    Raises:
        ModelError: there is no such model, or it is an adapter.
        TemplateError: no tokenizer there, or no such template.
    """
    tokenizer = load_tokenizer(str(locate_for_training(config).path))
    template = resolve_template(config.template, tokenizer, end=config.template_end)
    return Renderer(tokenizer, template, config.special_tokens_in_content, config.thinking)
