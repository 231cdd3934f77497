"""Hidden states in place of sequences: what the head reads, computed before.

Shapes: N sequences, D width of the backbone.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True, slots=True)
class HiddenBatch:
    """Hidden states [N, D] of last tokens, from a backbone that does not change."""

    hidden_ND: Tensor

    @property
    def num_tokens(self) -> int:
        """No token goes through the layers."""
        return 0
