"""One model in 8 bits, which says by how much that moves its first rewards before it goes on."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from assay.data.formats import Scorable, VerbatimText
from assay.errors import AssayError
from assay.model.int8.effect import Effect, effect
from assay.model.int8.precision import Int8
from assay.model.reward_model import RewardModel
from assay.model.vllm.either import ScoringModel
from assay.notices import notice
from assay.score.rewarder import OneModel
from assay.score.scorer import Progress, RowScores, score_or_refuse

SLICE = 64
"""Answers of the first work that are scored in both precisions, and the rest of their last row."""


class Int8Model(OneModel):
    """As `OneModel`; its linear layers are exchanged when the first rewards are wanted.

    Args:
        model: in float32 on a CPU.
        name: what the user calls it.

    Raises:
        ConfigError: as `assay.model.int8.precision.Int8`.
    """

    def __init__(self, model: ScoringModel, name: str) -> None:
        super().__init__(model, name)
        assert isinstance(model, RewardModel)
        self._reward_model = model
        self._waiting: Int8 | None = Int8(model)
        self._compared = 0
        notice(f"precision int8 of {name}: {self._waiting}")
        self._identity = super().identity() | {
            "precision": "int8",
            "int8 plan": self._waiting.plan.digest,
        }

    @property
    def about(self) -> dict[str, Any]:
        """Rows say the precision, too."""
        return super().about | {"precision": "int8"}

    @property
    def engine(self) -> str:
        """The engine's name, and the precision."""
        return f"{self._reward_model.engine.name} in int8"

    @property
    def computed_tokens(self) -> int:
        """As the model counts them, without those of the comparison: they are not the job's."""
        return super().computed_tokens - self._compared

    def identity(self) -> dict[str, Any]:
        """That of the weights as they were, and what became of them."""
        return dict(self._identity)

    def score(
        self, items: Sequence[Scorable], max_length: int | None, progress: Progress | None
    ) -> list[RowScores | AssayError]:
        """As `OneModel`; the first time, a slice is scored in both precisions."""
        if self._waiting is not None and items:
            some = first_answers(items, SLICE)
            counted = super().computed_tokens
            before, seconds_before = self._timed(some, max_length)
            self._waiting.exchange()
            self._waiting = None
            after, seconds_after = self._timed(some, max_length)
            self._compared += super().computed_tokens - counted
            found = effect_of(before, after, speed=seconds_before / seconds_after)
            found.say(f"precision int8 of {self.name}")
        # The slice again: rewards depend, in their last bits, on what is scored together.
        return super().score(items, max_length, progress)

    def _timed(
        self, items: Sequence[Scorable], max_length: int | None
    ) -> tuple[list[RowScores | AssayError], float]:
        began = time.perf_counter()
        found = score_or_refuse(self._reward_model, items, max_length=max_length)
        return found, time.perf_counter() - began


def first_answers(items: Sequence[Scorable], count: int) -> Sequence[Scorable]:
    """The first items that hold so many answers together, or all."""
    held = 0
    for number, item in enumerate(items, 1):
        held += 1 if isinstance(item, VerbatimText) else len(item.responses)
        if held >= count:
            return items[:number]
    return items


def effect_of(
    before: Sequence[RowScores | AssayError],
    after: Sequence[RowScores | AssayError],
    *,
    speed: float | None = None,
) -> Effect:
    """What became of the rewards of the same items; those that were refused are left out."""
    scored = [
        (number, old.scores, new.scores)
        for number, (old, new) in enumerate(zip(before, after, strict=True))
        if not isinstance(old, AssayError) and not isinstance(new, AssayError)
    ]
    return effect(
        [score for _, old, _ in scored for score in old],
        [score for _, _, new in scored for score in new],
        [number for number, old, _ in scored for _ in old],
        speed=speed,
    )
