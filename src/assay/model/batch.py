"""Right-padded batches of sequences of similar length, and hidden states that stand for some.

Shapes: N sequences, L tokens of the longest, R scored positions, D width of the backbone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from assay.data.rendering import TokenIds

MAX_PADDING = 0.1
"""Share of a batch that may be padding before the next length starts a batch of its own."""


@dataclass(frozen=True, slots=True)
class PaddedBatch:
    """Right-padded sequences. Integers only, on the model's device."""

    ids_NL: Tensor
    mask_NL: Tensor
    last_N: Tensor
    """Index of each sequence's last token: the scored position, known, never searched for."""
    scored_R2: Tensor | None = None
    """Sequence and position of each scored token, where more are scored than the last ones."""

    @property
    def num_tokens(self) -> int:
        """Tokens that are computed, padding included."""
        return self.ids_NL.numel()

    @classmethod
    def of(cls, sequences: Sequence[TokenIds], pad_id: int, device: torch.device) -> PaddedBatch:
        """Pad sequences on the right to the longest of them."""
        lengths = torch.tensor([len(ids) for ids in sequences])
        columns = torch.arange(int(lengths.max()))
        mask_NL = columns[None, :] < lengths[:, None]
        ids_NL = torch.full(mask_NL.shape, pad_id)
        ids_NL[mask_NL] = torch.tensor([token for ids in sequences for token in ids])
        return cls(ids_NL.to(device), mask_NL.long().to(device), (lengths - 1).to(device))

    def scored_from(self, starts: Sequence[int]) -> PaddedBatch:
        """The batch with all tokens of each sequence scored from one on."""
        places = [
            (row, position)
            for row, (start, last) in enumerate(zip(starts, self.last_N.tolist(), strict=True))
            for position in range(start, last + 1)
        ]
        return replace(self, scored_R2=torch.tensor(places, device=self.last_N.device))


@dataclass(frozen=True, slots=True)
class HiddenBatch:
    """Hidden states [N, D] of last tokens, from a backbone that does not change."""

    hidden_ND: Tensor
    num_tokens: int = 0
    """No token goes through the layers."""


def padded_batches(lengths: Sequence[int], max_tokens: int) -> list[list[int]]:
    """Cut sequences into batches of similar length.

    Each batch holds at most `max_tokens` padded tokens (or one sequence) and at most
    `MAX_PADDING` of padding. A pure function of its arguments.
    """
    batches: list[list[int]] = []
    real = 0
    for index in sorted(range(len(lengths)), key=lambda i: (-lengths[i], i)):
        length = lengths[index]
        if batches:
            padded = lengths[batches[-1][0]] * (len(batches[-1]) + 1)
            if padded <= max_tokens and real + length >= (1 - MAX_PADDING) * padded:
                batches[-1].append(index)
                real += length
                continue
        batches.append([index])
        real = length
    return batches
