"""A reward model whose passes vLLM computes, as scoring and serving see it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from assay.data.rendering import Renderer, TokenIds
from assay.errors import DataError, ModelError
from assay.model.metadata import Metadata
from assay.model.reward_model import Computed
from assay.model.rounding import shortest

PASS_TOKENS = 65_536
"""Tokens that are handed over together. vLLM cuts its own passes; this only keeps it busy."""


class PoolingEngine(Protocol):
    """A vLLM engine with the model: in this process, or behind a URL."""

    @property
    def name(self) -> str:
        """For summaries: which, and where."""

    @property
    def dtype(self) -> str:
        """Of its weights; `unknown` where it does not say."""

    @property
    def max_length(self) -> int:
        """Tokens of a sequence that it takes."""

    @property
    def served(self) -> dict[str, Any]:
        """By name, what a server says of the model that it serves: local files may be another."""

    def raw(self, sequences: Sequence[TokenIds]) -> list[float]:
        """What the head gives at the last token of each, without sigmoid.

        Raises:
            ModelError, ResourceError: it refuses, or does not answer.
        """


@dataclass(slots=True)
class VllmModel:
    """Reads as the `RewardModel` of the same directory would; another engine computes.

    Attributes:
        renderer: how conversations become token ids.
        metadata: what is known of the model.
        pooling: the engine.
        max_length: tokens that model and engine have positions for.
        num_ids: rows of the embedding: ids are below.
        weights: a hash of the files, or None where the weights are only behind a URL.
        computed: what was handed over so far.
    """

    renderer: Renderer
    metadata: Metadata
    pooling: PoolingEngine
    max_length: int
    num_ids: int
    weights: str | None
    computed: Computed

    heads: None = None
    """Models with members behind the head are refused."""

    def rewards(self, sequences: Sequence[TokenIds]) -> list[float]:
        """Raw rewards in their order, each the shortest digits of its float32.

        Equal sequences are computed once.

        Raises:
            DataError: a sequence is empty or too long.
            ModelError: a reward is not finite, or vLLM refuses.
            ResourceError: vLLM does not answer.
        """
        distinct = list(dict.fromkeys(sequences))
        for ids in distinct:
            if not 0 < len(ids) <= self.max_length:
                raise DataError(
                    f"a sequence has {len(ids)} tokens, and vLLM takes 1 to {self.max_length}",
                    mend="shorten it, or start vLLM with a larger --max-model-len",
                )
        raw = self.pooling.raw(distinct)
        self.computed.count(sum(map(len, distinct)))
        if not all(map(math.isfinite, raw)):
            raise ModelError(
                "vLLM gives a reward that is not finite",
                mend="start it with --dtype float32; if that does not help, its files are damaged",
            )
        offset = self.metadata.reward_offset
        found = {ids: shortest(value + offset) for ids, value in zip(distinct, raw, strict=True)}
        return [found[ids] for ids in sequences]


def in_portions(sequences: Sequence[TokenIds], tokens: int) -> list[list[int]]:
    """Indices of the sequences of each portion, in order; above the bound one stands alone."""
    portions: list[list[int]] = []
    held = 0
    for index, ids in enumerate(sequences):
        if not portions or held + len(ids) > tokens:
            portions.append([])
            held = 0
        portions[-1].append(index)
        held += len(ids)
    return portions
