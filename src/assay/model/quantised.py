"""Backbones in 4 or 8 bits, below adapters (QLoRA: Dettmers et al., 2023): bitsandbytes does it."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any

import torch

from assay.config import LoraConfig
from assay.errors import ConfigError

_WHERE = "lora.quantize"


def quantisation(lora: LoraConfig | None, device: torch.device) -> dict[str, Any]:
    """What `from_pretrained` needs to load a backbone quantised; empty where the recipe does not.

    The head stays as it is. Products are computed in bfloat16, scales of NF4 are quantised, too.

    Raises:
        ConfigError: there is no GPU, or bitsandbytes is not installed.
    """
    if lora is None or lora.quantize == "none":
        return {}
    if device.type != "cuda":
        raise ConfigError(
            f"{lora.quantize} needs a GPU, and this run computes on {device.type}",
            where=_WHERE,
            mend="leave lora.quantize out, or train where there is a GPU",
        )
    if find_spec("bitsandbytes") is None:
        raise ConfigError(
            f"{lora.quantize} needs bitsandbytes, which is not installed",
            where=_WHERE,
            mend="pip install 'assay[qlora]'",
        )
    from transformers import BitsAndBytesConfig

    kept = ["score", "classifier"]
    if lora.quantize == "int8":
        config = BitsAndBytesConfig(load_in_8bit=True, llm_int8_skip_modules=kept)
    else:
        config = BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_use_double_quant=True,
            bnb_4bit_compute_dtype=torch.bfloat16,
            llm_int8_skip_modules=kept,
        )
    return {"quantization_config": config, "device_map": {"": device}}
