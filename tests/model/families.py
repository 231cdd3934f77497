"""Model families as tests build them: tiny configurations, and what is known of each."""

from __future__ import annotations

from typing import Any

SMALL: dict[str, Any] = {
    "vocab_size": 128,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 256,
    "pad_token_id": 0,
}
"""Of every family; what one does not know it ignores."""

_EXPERTS = {"num_experts_per_tok": 2, "moe_intermediate_size": 32}
PACKABLE: dict[str, dict[str, Any]] = {
    "llama": {},
    # Two layers with a window and two without, as its larger models may be.
    "qwen2": {
        "num_hidden_layers": 4,
        "use_sliding_window": True,
        "sliding_window": 32,
        "max_window_layers": 2,
    },
    "qwen3": {"head_dim": 16},
    "qwen3_moe": {"head_dim": 16, "num_experts": 4, **_EXPERTS},
    "mistral": {"sliding_window": 32},
    "mixtral": {"num_local_experts": 4, "num_experts_per_tok": 2},
    "gemma2": {"num_hidden_layers": 4, "head_dim": 16, "sliding_window": 32},
    "gemma3_text": {
        "num_hidden_layers": 4,
        "head_dim": 16,
        "sliding_window": 32,
        "layer_types": ["sliding_attention", "full_attention"] * 2,
    },
    # Its classifier is the one with images, whose layers are gemma3_text's.
    "gemma3": {
        "text_config": SMALL
        | {
            "num_hidden_layers": 4,
            "head_dim": 16,
            "sliding_window": 32,
            "layer_types": ["sliding_attention", "full_attention"] * 2,
        },
        "vision_config": {
            "hidden_size": 32,
            "intermediate_size": 32,
            "num_hidden_layers": 1,
            "num_attention_heads": 2,
            "image_size": 28,
            "patch_size": 14,
        },
    },
    "phi3": {"sliding_window": 32},
    "glm4": {"head_dim": 16},
    "gpt2": {},
    "gpt_neox": {},
    "gpt_oss": {
        "num_hidden_layers": 4,
        "head_dim": 16,
        "sliding_window": 32,
        "num_local_experts": 4,
        "num_experts_per_tok": 2,
    },
    "olmo2": {},
    "smollm3": {},
}
"""Families whose prefixes can be shared: the engine is the tree."""

OBSTACLES = {
    "bloom": "its attention cannot be replaced",
    "falcon": "its attention cannot be replaced",
    "bert": "its head is not one row over the last token",
    "qwen3_next": "it has layers of the kind linear_attention",
}
"""Why the others are computed padded."""
FALLBACK: dict[str, dict[str, Any]] = {
    "bloom": {},
    "falcon": {},
    "bert": {},
    "qwen3_next": {
        "num_hidden_layers": 4,
        "head_dim": 16,
        "num_experts": 4,
        **_EXPERTS,
        "shared_expert_intermediate_size": 32,
        "linear_num_key_heads": 2,
        "linear_num_value_heads": 4,
        "linear_key_head_dim": 16,
        "linear_value_head_dim": 16,
    },
}


def small_config(family: str, **changes: Any) -> Any:
    """A family's configuration of transformers; one that no table knows has nothing of its own."""
    from transformers import AutoConfig

    own = (PACKABLE | FALLBACK).get(family, {})
    return AutoConfig.for_model(family, **(SMALL | own | changes))
