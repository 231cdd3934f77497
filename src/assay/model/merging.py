"""From an adapter, or another program's directory, to the plain one that all programs load.

Nothing is rounded unless a dtype is named: the merged weights are written in the narrowest dtype
that holds every one of them.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

import assay
from assay.data.templates import resolve_template
from assay.errors import ModelError, OutputError, first_line
from assay.files import check_place
from assay.model.adapters import adapter_names, has_head, put_adapter
from assay.model.classifier import quiet_transformers, refuse_gaps
from assay.model.foreign import foreign_head
from assay.model.loading import open_reward_model, set_padding
from assay.model.locate import Located, locate_base, locate_model
from assay.model.manifest import whole_directory
from assay.model.metadata import Metadata
from assay.model.precision import DTYPES, check_dtype
from assay.model.reader import tokenizer_of
from assay.model.saving import is_adapter, save_plain
from assay.notices import notice

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedModel

_NARROW = (torch.bfloat16, torch.float16)


@dataclass(frozen=True, slots=True)
class Merged:
    """What was written.

    Attributes:
        output: the directory.
        architecture: the class of transformers that it loads as.
        dtype: of the weights.
        reward_offset: what Assay adds to each reward and other programs do not; None for a
            language model, which has none.
    """

    output: Path
    architecture: str
    dtype: str
    reward_offset: float | None


def merge(
    model: str,
    output: Path,
    *,
    base: str | None = None,
    template: str | None = None,
    dtype: str = "auto",
) -> Merged:
    """Write the plain directory of an adapter, or of a reward model of another program.

    An adapter without a reward head, on a base without one, becomes a language model to train from.

    Args:
        model: an adapter, a run, or a directory, as `--model` takes it.
        output: a directory that is not there yet, or is empty.
        base: the base model of an adapter, if it is no longer where the adapter says.
        template: the chat template that is written with it, by default its own.
        dtype: `auto` (rounds nothing), or the name of one.

    Raises:
        OutputError: there is something at `output`, or it cannot be written.
        ModelError: no model there, or one without a head that is no adapter.
        ConfigError: no such dtype.
    """
    check_dtype(dtype)
    _check_free(output)
    located = locate_model(model)
    if located.kind == "plain" and Metadata.read(located.path) is not None:
        raise ModelError(
            "is a plain directory of Assay already: there is nothing to merge",
            where=located.path,
            mend="use it as it is, or name an adapter",
        )
    if _is_of_language_model(located, base):
        return _merge_language_model(located, output, base=base, template=template, dtype=dtype)
    wide = torch.promote_types(_stored_dtype(located, base), torch.float32)
    opened = open_reward_model(str(located.path), wide, base=base, template=template)
    if is_adapter(opened):
        opened.inner = opened.inner.merge_and_unload()  # type: ignore[operator]
    if opened.metadata.assay_version == "":
        opened.metadata = replace(
            opened.metadata, base=str(located.path), assay_version=assay.__version__
        )
    opened.classifier.config.problem_type = "regression"  # Servers then give the raw logit.
    set_padding(opened, may_grow=True)
    held = _written_dtype(opened.classifier, dtype)
    with whole_directory(output, replace=output.exists()) as directory:
        save_plain(opened, directory, held)
    return Merged(
        output, type(opened.classifier).__name__, _name(held), opened.metadata.reward_offset
    )


def _check_free(output: Path) -> None:
    check_place(output)
    if output.exists() and not output.is_dir():
        raise OutputError("is a file", where=output, mend="name a directory that is not there")
    if output.is_dir() and any(output.iterdir()):
        raise OutputError(
            "is not empty", where=output, mend="name a directory that is not there, or empty it"
        )


def _is_of_language_model(located: Located, base: str | None) -> bool:
    """Whether it is an adapter with no reward head in it, beside it, or in its base."""
    if located.kind != "adapter":
        return False
    if has_head(adapter_names(located.path)) or foreign_head(located.path) is not None:
        return False
    base_path = locate_base(located.path, base)
    return foreign_head(base_path) is None and not _is_classifier(base_path)


def _merge_language_model(
    located: Located, output: Path, *, base: str | None, template: str | None, dtype: str
) -> Merged:
    from transformers import AutoModelForCausalLM

    path, base_path = located.path, locate_base(located.path, base)
    tokenizer = tokenizer_of(located, base)
    if template is not None:
        tokenizer.chat_template = resolve_template(template, tokenizer).jinja
    with quiet_transformers():
        try:
            model, report = AutoModelForCausalLM.from_pretrained(
                str(base_path),
                dtype=torch.float32,
                output_loading_info=True,
                trust_remote_code=False,
            )
        except Exception as error:  # Anything may come out of somebody else's class.
            raise ModelError(
                f"cannot be loaded as a language model ({first_line(error)})",
                where=base_path,
                mend="fetch the model again",
            ) from None
    refuse_gaps(base_path, sorted(report["missing_keys"]))
    adapted = put_adapter(model, path, base_path, adapter_names(path), with_head=False)
    merged: PreTrainedModel = adapted.merge_and_unload()  # type: ignore[operator]
    held = _written_dtype(merged, dtype)
    with whole_directory(output, replace=output.exists()) as directory, quiet_transformers():
        merged.to(held).save_pretrained(directory)
        tokenizer.save_pretrained(str(directory))
    notice(
        f"{path}: neither the adapter nor its base has a reward head: {output} is a language model "
        "to train from"
    )
    return Merged(output, type(merged).__name__, _name(held), None)


def _config_of(path: Path) -> PretrainedConfig | None:
    """A model's configuration; None where it cannot be read."""
    from transformers import AutoConfig

    try:
        with quiet_transformers():
            return AutoConfig.from_pretrained(str(path), trust_remote_code=False)
    except Exception:  # Anything may come out of somebody else's class.
        return None


def _is_classifier(path: Path) -> bool:
    config = _config_of(path)
    if config is None:
        return True  # Whatever is wrong with it, opening it as a classifier says so.
    classes = getattr(config, "architectures", None) or []
    return any(name.endswith("ForSequenceClassification") for name in classes)


def _stored_dtype(located: Located, base: str | None) -> torch.dtype:
    """What a model's configuration says its weights are; float32 where it says nothing."""
    path = located.path if located.kind == "plain" else locate_base(located.path, base)
    dtype = getattr(_config_of(path), "dtype", None)
    return dtype if isinstance(dtype, torch.dtype) else torch.float32


def _written_dtype(model: nn.Module, name: str) -> torch.dtype:
    """The dtype that is named; for `auto` the narrowest that holds every weight as it is."""
    weights = [t for t in model.state_dict().values() if t.is_floating_point()]
    held = weights[0].dtype if weights else torch.float32
    for weight in weights:
        held = torch.promote_types(held, weight.dtype)
    if name != "auto":
        rounded = sum(not _holds(DTYPES[name], weight) for weight in weights)
        if rounded:
            notice(f"{rounded} of {len(weights)} weights are rounded to {name}")
        return DTYPES[name]
    lossless = (dtype for dtype in _NARROW if all(_holds(dtype, weight) for weight in weights))
    chosen = next(lossless, held)
    if chosen == held and held == torch.float32:
        notice("written in float32, which rounds nothing; --dtype bfloat16 takes half the space")
    return chosen


def _holds(dtype: torch.dtype, weight: Tensor) -> bool:
    return torch.equal(weight.to(dtype).to(weight.dtype), weight)


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
