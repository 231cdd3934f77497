"""What answers of several protocols are made of."""

from __future__ import annotations

import base64
import secrets
from typing import Any

import numpy as np

from assay.model.rounding import shortest
from assay.score.transform import probability
from assay.serve.jobs import Scored


def numbers(scored: Scored, use_activation: bool | None) -> list[float]:
    """Raw rewards; their sigmoids, as float32, where the body asks for an activation."""
    if not use_activation:
        return scored.rewards
    return [shortest(probability(reward)) for reward in scored.rewards]


def encoded(value: float, encoding: str | None) -> list[float] | str:
    """A vector of one number: a list, or base64 of little-endian float32."""
    if encoding != "base64":
        return [value]
    return base64.b64encode(np.array([value], dtype="<f4").tobytes()).decode()


def usage(scored: Scored) -> dict[str, Any]:
    """Tokens, as OpenAI counts them."""
    total = sum(scored.num_tokens)
    return {
        "prompt_tokens": total,
        "total_tokens": total,
        "completion_tokens": 0,
        "prompt_tokens_details": None,
    }


def new_id(kind: str) -> str:
    """An id for an answer."""
    return f"{kind}-{secrets.token_hex(16)}"
