"""Directories as other programs write reward models, built from tiny random ones.

What each program's code does was read in its repository:
LLaMA-Factory, `src/llamafactory/train/callbacks.py`, `fix_valuehead_checkpoint`: the model (or PEFT
    adapter) by its own `save_pretrained`, `v_head.summary.*` to `value_head.safetensors`.
TRL, `trl/models/modeling_value_head.py` and `modeling_base.py`: `state_dict` adds `v_head.` to the
    names of the head and `save_pretrained` passes it to the language model's.
OpenRLHF, `openrlhf/models/model.py` (`RewardModel`) and `openrlhf/trainer/rm_trainer.py`: a
    backbone under its usual prefix, a `Linear` without bias under `config.value_head_prefix`, and
    `config.mean`, `config.std` of the rewards that its evaluation saw.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

BIAS = 0.8125


def language_model(base: Path, dtype: torch.dtype = torch.float32) -> Any:
    """The tiny base as TRL and LLaMA-Factory hold it."""
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(base, dtype=dtype).eval()


def value_head(width: int, seed: int = 1) -> dict[str, Tensor]:
    """TRL's `ValueHead` as a state dict: one row and a bias."""
    generator = torch.Generator().manual_seed(seed)
    return {
        "v_head.summary.weight": torch.randn(1, width, generator=generator),
        "v_head.summary.bias": torch.tensor([BIAS]),
    }


def llama_factory(target: Path, model: Any, tokenizer: Any) -> dict[str, Tensor]:
    """A model (or PEFT adapter) by itself, the head beside it; returns the head."""
    head = value_head(model.config.hidden_size)
    model.save_pretrained(target)
    save_file(head, target / "value_head.safetensors", metadata={"format": "pt"})
    tokenizer.save_pretrained(target)
    return head


def trl_value_head(
    target: Path, model: Any, tokenizer: Any, shard: str = "5GB"
) -> dict[str, Tensor]:
    """The head among the language model's weights; returns the head."""
    head = value_head(model.config.hidden_size)
    model.save_pretrained(target, state_dict=model.state_dict() | head, max_shard_size=shard)
    tokenizer.save_pretrained(target)
    return head


def openrlhf(
    target: Path,
    base: Path,
    tokenizer: Any,
    *,
    prefix: str = "value_head",
    named: bool = True,
    **settings: Any,
) -> Tensor:
    """OpenRLHF's `RewardModel`; returns its row. `named` writes the head's name down."""
    from transformers import AutoConfig, AutoModel

    config = AutoConfig.from_pretrained(base)
    backbone_class = AutoModel._model_mapping[type(config)]

    class RewardModel(backbone_class.__base__):  # type: ignore[misc]
        def __init__(self, config: Any) -> None:
            super().__init__(config)
            setattr(self, self.base_model_prefix, backbone_class(config))
            setattr(self, prefix, nn.Linear(config.hidden_size, 1, bias=False))
            self.post_init()

    torch.manual_seed(3)
    model = RewardModel.from_pretrained(base, config=config)
    getattr(model, prefix).weight.data.normal_()
    model.config.normalize_reward = "mean" in settings
    for key, value in (({"value_head_prefix": prefix} if named else {}) | settings).items():
        setattr(model.config, key, value)
    model.save_pretrained(target)
    tokenizer.save_pretrained(target)
    row: Tensor = getattr(model, prefix).weight.detach().clone()
    return row


def last_hidden(model: Any, sequences: Sequence[Sequence[int]]) -> Tensor:
    """By hand: the last layer's output of a language model at the last token of each sequence."""
    with torch.no_grad():
        return torch.stack(
            [
                model(input_ids=torch.tensor([ids]), output_hidden_states=True).hidden_states[-1][
                    0, -1
                ]
                for ids in sequences
            ]
        )


def edit_json(path: Path, **changes: Any) -> None:
    """Other values in a JSON file; None removes a key."""
    content = json.loads(path.read_text()) | changes
    kept = {key: value for key, value in content.items() if value is not None}
    path.write_text(json.dumps(kept))


def edit_tensors(path: Path, **changes: Tensor | None) -> None:
    """Other tensors in a safetensors file, a dot written as two underscores; None removes one."""
    content: dict[str, Tensor | None] = dict(load_file(path))
    content |= {key.replace("__", "."): value for key, value in changes.items()}
    kept = {key: value for key, value in content.items() if value is not None}
    save_file(kept, path, metadata={"format": "pt"})
