"""What makes two jobs one and the same, and how it is told where they are not."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import torch

import assay
from assay.machine import processor_vendor

_FLAGS = {
    "model": "--model",
    "engine": "--engine",
    "device": "--device",
    "dtype": "--dtype",
    "precision": "--precision",
    "limit": "--limit",
    "max_length": "--max-length",
    "style": "--style",
    "transform": "--transform",
    "shard": "--shard",
    "input path": "--input",
    "input format": "--format",
    "input split": "--split",
    "input label": "--label",
    "input revision": "--revision",
    "input columns": "--columns",
}
"""By the name of a setting, the option that gives it."""

_HASHED = {
    "input SHA-256": "the rows of --input are others",
    "weights": "the weights are others",
    "tokenizer": "the tokenizer is another",
    "template": "the template is another",
    "reward": "the reward file says something else",
    "int8 plan": "what --precision int8 has chosen is something else",
}
"""What is said of settings of which nobody can read the values."""


def circumstances() -> dict[str, Any]:
    """What the last bits of a reward may depend on."""
    return {
        "threads": torch.get_num_threads(),
        "instruction set": torch.backends.cpu.get_cpu_capability(),
        "processor": processor_vendor(),
        "torch": torch.__version__,
        "assay": assay.__version__,
    }


def differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """What two jobs, or their circumstances, differ in, in words."""
    names = dict.fromkeys([*before, *now])
    return [
        _said(name, before.get(name), now.get(name))
        for name in names
        if before.get(name) != now.get(name)
    ]


def _said(name: str, before: Any, now: Any) -> str:
    of_several = re.match(r"model \d+ ", name)  # Of a reward file, as `Several` names them.
    whose = f"{of_several[0].strip()}: " if of_several else ""
    own = name.removeprefix(of_several[0]) if of_several else name
    if own in _HASHED and None not in (before, now):
        return f"{whose}{_HASHED[own]}"
    return f"{whose}{_FLAGS.get(own, own)} was {_told(before)}, is {_told(now)}"


def _told(value: Any) -> str:
    return "not given" if value is None else str(value)
