"""What gives rewards: a model, or several things put together, behind one interface."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol

import torch

from assay.data.formats import Scorable
from assay.data.records import Group
from assay.data.store.settings import tokenizer_hash
from assay.errors import AssayError
from assay.machine import available_cores
from assay.model.reward_model import RewardModel
from assay.model.vllm.either import ScoringModel, engine_of
from assay.model.vllm.model import VllmModel
from assay.score.scorer import Progress, RowScores, reading_limit, refusals, score_or_refuse


class Rewarder(Protocol):
    """Gives each response of each item a reward, or an error in the place of the item."""

    @property
    def about(self) -> dict[str, Any]:
        """What each written row says of it."""

    @property
    def engine(self) -> str:
        """How it computes, for the summary."""

    @property
    def template(self) -> str:
        """The name of what it reads with, for messages."""

    @property
    def computed_tokens(self) -> int:
        """Tokens that went through a model's layers so far."""

    def text(self, group: Group, response: int) -> str:
        """What is read of a response; of several models, by the first."""

    def identity(self) -> dict[str, Any]:
        """By name, all that decides its rewards but for the last bits."""

    def check_length(self, max_length: int | None) -> None:
        """See that it can read so many tokens.

        Raises:
            ConfigError: it cannot.
        """

    def refusals(
        self, items: Sequence[Scorable], max_length: int | None
    ) -> list[AssayError | None]:
        """Why each item cannot be scored, or None."""

    def score(
        self, items: Sequence[Scorable], max_length: int | None, progress: Progress | None
    ) -> list[RowScores | AssayError]:
        """Rewards of each item; `progress` is told which share is done."""


class OneModel:
    """The raw rewards of one model, under the name that the user gave it."""

    def __init__(self, model: ScoringModel, name: str) -> None:
        self.model = model
        self.name = name

    @property
    def about(self) -> dict[str, Any]:
        """The model's name and the hash of its template."""
        return {"model": self.name, "template_hash": self.model.renderer.template.hash}

    @property
    def engine(self) -> str:
        """The engine's name."""
        return engine_of(self.model)

    @property
    def template(self) -> str:
        """The template's name."""
        return self.model.renderer.template.name

    @property
    def computed_tokens(self) -> int:
        """As the model counts them."""
        return self.model.computed.tokens

    def text(self, group: Group, response: int) -> str:
        """The rendered conversation."""
        return self.model.renderer.render(group, response).text

    def identity(self) -> dict[str, Any]:
        """Weights, tokenizer and template by their hashes, and how they are used."""
        model, renderer = self.model, self.model.renderer
        return {
            "model": self.name,
            "reward offset": model.metadata.reward_offset,
            "tokenizer": tokenizer_hash(renderer),
            "template": renderer.template.hash,
            "special tokens": renderer.special_tokens,
            "thinking": renderer.thinking,
            "engine": engine_of(model),
            **_weights(model),
        }

    def check_length(self, max_length: int | None) -> None:
        """Compare with the model's context."""
        reading_limit(self.model, max_length)

    def refusals(
        self, items: Sequence[Scorable], max_length: int | None
    ) -> list[AssayError | None]:
        """By rendering, without a forward pass."""
        return refusals(self.model, items, max_length=max_length)

    def score(
        self, items: Sequence[Scorable], max_length: int | None, progress: Progress | None
    ) -> list[RowScores | AssayError]:
        """In packs of the model's engine; equal sequences are computed once."""
        return score_or_refuse(self.model, items, max_length=max_length, progress=progress)


def _weights(model: ScoringModel) -> dict[str, Any]:
    """Which they are, how wide, and where."""
    if isinstance(model, VllmModel):
        said = {"weights": model.weights, "dtype": model.pooling.dtype, "device": "vllm's"}
        return said | model.pooling.served
    return {
        "weights": weights_hash(model),
        "dtype": str(next(model.parameters()).dtype).removeprefix("torch."),
        "device": model.device.type,
    }


def weights_hash(model: RewardModel) -> str:
    """32 hex digits of a hash of all weights as they are in memory, with names and kinds."""

    def digest_of(value: torch.Tensor) -> str:
        raw = value.detach().cpu().contiguous().reshape(-1).view(torch.uint8)
        return hashlib.sha256(raw.numpy().data).hexdigest()

    named = [(n, v) for n, v in sorted(model.state_dict().items()) if isinstance(v, torch.Tensor)]
    # A core hashes about 1 GB/s, and hashing leaves the interpreter to others.
    with ThreadPoolExecutor(available_cores()) as pool:
        digests = pool.map(digest_of, (value for _, value in named))
        lines = [
            f"{name} {value.dtype} {tuple(value.shape)} {digest}\n"
            for (name, value), digest in zip(named, digests, strict=True)
        ]
    return hashlib.sha256("".join(lines).encode()).hexdigest()[:32]
