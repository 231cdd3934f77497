"""The three engines behind `rewards_of_sequences`: how sequences become forward passes.

tree    every prefix token is computed once;
packed  sequences stand one after another in a row without padding, sharing nothing;
padded  rows padded on the right, for models whose attention cannot be replaced; the oracle of the
        other two.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch

from assay.data.rendering import TokenIds
from assay.model.batch import HiddenBatch, PaddedBatch, padded_batches
from assay.tree.attention import NAME
from assay.tree.pack import Pack
from assay.tree.packing import cut_by_families, first_fit_decreasing, pack_families, tree_tokens

EngineName = Literal["tree", "packed", "padded"]
Batch = PaddedBatch | Pack | HiddenBatch
"""What a model takes for one forward pass."""


class Engine(ABC):
    """What the engines differ in. Costs and budgets are tokens of a forward pass.

    Those of one kind are equal: a copied model has a copy of its engine.
    """

    name: EngineName
    """As in recipes."""
    attention: str | None = None
    """Name of the attention implementation that the model needs; None leaves its own."""

    def cost(self, sequences: Sequence[TokenIds]) -> int:
        """Tokens that are computed for sequences of one family, padding not counted."""
        return sum(map(len, dict.fromkeys(sequences)))

    def pack(self, families: Sequence[Sequence[TokenIds]], budget: int) -> list[list[int]]:
        """Indices of the families of each pack of a training step; above the budget one stands
        alone."""
        return first_fit_decreasing([self.cost(sequences) for sequences in families], budget)

    @abstractmethod
    def cut(
        self, sequences: Sequence[TokenIds], families: Sequence[int], budget: int
    ) -> list[list[int]]:
        """Indices of the sequences of each forward pass; above the budget one stands alone."""

    @abstractmethod
    def batch(
        self,
        sequences: Sequence[TokenIds],
        families: Sequence[int],
        pad_id: int,
        device: torch.device,
        starts: Sequence[int] | None = None,
    ) -> Batch:
        """What the model takes for the sequences of one forward pass.

        `starts` is the first scored position of each; by default only the last token is scored.
        """


@dataclass(frozen=True)
class _Padded(Engine):
    name: EngineName = "padded"

    def cut(
        self, sequences: Sequence[TokenIds], families: Sequence[int], budget: int
    ) -> list[list[int]]:
        return padded_batches([len(ids) for ids in sequences], budget)

    def batch(
        self,
        sequences: Sequence[TokenIds],
        families: Sequence[int],
        pad_id: int,
        device: torch.device,
        starts: Sequence[int] | None = None,
    ) -> PaddedBatch:
        batch = PaddedBatch.of(sequences, pad_id, device)
        return batch if starts is None else batch.scored_from(starts)


@dataclass(frozen=True)
class _Packed(Engine):
    name: EngineName = "packed"
    attention = NAME
    shares = False

    def cut(
        self, sequences: Sequence[TokenIds], families: Sequence[int], budget: int
    ) -> list[list[int]]:
        return first_fit_decreasing([len(ids) for ids in sequences], budget)

    def batch(
        self,
        sequences: Sequence[TokenIds],
        families: Sequence[int],
        pad_id: int,
        device: torch.device,
        starts: Sequence[int] | None = None,
    ) -> Pack:
        return Pack.of(sequences, device, families=families, share=self.shares, starts=starts)


@dataclass(frozen=True)
class _Tree(_Packed):
    name: EngineName = "tree"
    shares = True

    def cost(self, sequences: Sequence[TokenIds]) -> int:
        return tree_tokens(sequences)

    def pack(self, families: Sequence[Sequence[TokenIds]], budget: int) -> list[list[int]]:
        return pack_families(families, budget)

    def cut(
        self, sequences: Sequence[TokenIds], families: Sequence[int], budget: int
    ) -> list[list[int]]:
        return cut_by_families(sequences, families, budget)


ENGINES: dict[EngineName, Engine] = {one.name: one for one in (_Tree(), _Packed(), _Padded())}
"""Engines by name, the fastest first: a model takes the first that is right for it."""
