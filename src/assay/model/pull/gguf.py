"""A GGUF file to an ordinary Hugging Face directory."""

from __future__ import annotations

import errno
import shutil
from pathlib import Path
from typing import Any

from assay.errors import PullError
from assay.fetch.placing import is_full
from assay.fetch.quiet import quiet


def convert_gguf(source: Path, destination: Path, *, pad_token: str) -> None:
    """Write the model and tokenizer of a GGUF file as float32 into `destination`.

    Raises:
        PullError: the file lacks weights or the padding token.
        OSError: the disk refused.
    """
    # Heavy, and only needed when something is really converted.
    from safetensors import SafetensorError

    with quiet(bars=False):
        tokenizer, model = _load(source)
        _set_padding(tokenizer, model, pad_token, source)
        _forget_quantisation(model)
        try:
            model.save_pretrained(destination)
        except SafetensorError as error:
            # Its own kind of error, without a number: told apart by its text.
            number = errno.ENOSPC if is_full(error) else errno.EIO
            raise OSError(number, str(error), str(destination)) from error
        tokenizer.save_pretrained(destination)
    for weights in destination.glob("*.safetensors"):
        # safetensors writes them for the owner alone; a cache may be shared.
        shutil.copymode(destination / "config.json", weights)


def _load(source: Path) -> tuple[Any, Any]:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(
        source.parent, gguf_file=source.name, trust_remote_code=False
    )
    model, loading = AutoModelForCausalLM.from_pretrained(
        source.parent,
        gguf_file=source.name,
        dtype=torch.float32,
        output_loading_info=True,
        trust_remote_code=False,
    )
    if loading["missing_keys"]:
        missing = ", ".join(sorted(loading["missing_keys"])[:3])
        raise PullError(
            f"the file lacks weights that its architecture needs: {missing}",
            where=source,
            mend="pull another model",
        )
    return tokenizer, model


def _set_padding(tokenizer: Any, model: Any, pad_token: str, source: Path) -> None:
    if pad_token not in tokenizer.get_vocab():
        raise PullError(
            f"the vocabulary has no token {pad_token!r}", where=source, mend="pull another model"
        )
    tokenizer.pad_token = pad_token
    model.config.pad_token_id = tokenizer.pad_token_id
    model.generation_config.pad_token_id = tokenizer.pad_token_id


def _forget_quantisation(model: Any) -> None:
    """The weights are plain floats now; with these marks `save_pretrained` refuses."""
    if hasattr(model.config, "quantization_config"):
        del model.config.quantization_config
    model.hf_quantizer = None
    model.is_quantized = False
    # The GGUF file's title, not a place: a reader of config.json would take it for one.
    model.config.__dict__.pop("_model_name_or_path", None)
    model.config.__dict__["_name_or_path"] = ""
