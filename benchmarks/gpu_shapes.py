"""What both sides of gpu.py compute: the model by its config, and token ids by a seed.

Imports nothing of Assay: TRL's half runs under an interpreter that has none.
"""

from __future__ import annotations

import random
from dataclasses import asdict, dataclass
from typing import Any

import torch

Group = list[tuple[int, ...]]
"""Token ids of the responses to one prompt, the prompt before each."""

LLAMA_8B = {
    "vocab_size": 128256,
    "hidden_size": 4096,
    "intermediate_size": 14336,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "max_position_embeddings": 131072,
    "rms_norm_eps": 1e-5,
    "rope_parameters": {"rope_type": "default", "rope_theta": 500000.0},
}
"""Llama 3.1 8B (2024, table 3), without the scaling of its rotary frequencies beyond 8k tokens."""
TINY = LLAMA_8B | {
    "vocab_size": 512,
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
}

PAD = 0
LORA = {"r": 16, "lora_alpha": 32, "lora_dropout": 0.0, "target_modules": "all-linear"}
LEARNING_RATE = 1e-5
SEED = 42


@dataclass(frozen=True, slots=True)
class Cell:
    """One place of the grid: what a step is made of. Comparisons are of neighbours: 0 and 1, 2 and
    3, ..., so that TRL, too, computes each response once."""

    mode: str
    prompt: int
    response: int
    responses: int
    groups: int

    @property
    def pairs(self) -> int:
        """Comparisons in a step."""
        return self.groups * self.responses // 2

    @property
    def logical_tokens(self) -> int:
        """Tokens of all sequences of a step; none is padded, for all are of one length."""
        return self.groups * self.responses * (self.prompt + self.response)

    @property
    def tree_tokens(self) -> int:
        """Tokens of a step when each prompt is computed once."""
        return self.groups * (self.prompt + self.responses * self.response)

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def groups_of(cell: Cell, step: int, vocabulary: int) -> list[Group]:
    """The groups of a step, drawn: the same on both sides."""
    draw = random.Random(f"{SEED} {cell} {step}")

    def tokens(count: int) -> tuple[int, ...]:
        return tuple(draw.randrange(1, vocabulary) for _ in range(count))

    groups = []
    for _ in range(cell.groups):
        prompt = tokens(cell.prompt)
        groups.append([prompt + tokens(cell.response) for _ in range(cell.responses)])
    return groups


def build(settings: dict[str, Any], mode: str, attention: str) -> Any:
    """A classifier with random weights on the device, ready to be trained.

    Full: float32 weights (autocast computes in bfloat16). LoRA: a frozen backbone in the dtype of
    the computation, adapters and head in float32.
    """
    from transformers import AutoModelForSequenceClassification, LlamaConfig

    narrow = getattr(torch, settings["dtype"])
    config = LlamaConfig(**settings["config"], num_labels=1, pad_token_id=PAD, use_cache=False)
    torch.manual_seed(SEED)
    with torch.device(settings["device"]):
        model = AutoModelForSequenceClassification.from_config(
            config,
            dtype=narrow if mode == "lora" else torch.float32,
            attn_implementation=attention,
        )
    if settings["checkpointing"]:
        model.gradient_checkpointing_enable({"use_reentrant": False})
    if mode == "lora":
        from peft import LoraConfig, TaskType, get_peft_model

        model = get_peft_model(model, LoraConfig(task_type=TaskType.SEQ_CLS, **LORA))
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.data = parameter.data.float()
    return model


def synchronised(device: str) -> None:
    """Wait for what was started on a GPU."""
    if device != "cpu":
        torch.cuda.synchronize()


def peak_bytes(device: str) -> int | None:
    """The most that was allocated on a GPU; None on a CPU."""
    return None if device == "cpu" else torch.cuda.max_memory_allocated()
