"""A request in the queue, and what it gets."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TypeVar

from assay.model.membership import Scores
from assay.serve.items import Reading

_Value = TypeVar("_Value")


@dataclass(frozen=True, slots=True)
class Scored:
    """Rewards of a request's sequences, in order; the others as `assay.model.membership.Scores`."""

    readings: Sequence[Reading]
    rewards: list[float]
    uncertainty: list[float] | None = None
    components: list[dict[str, float]] | None = None
    members: list[dict[str, float]] | None = None

    @property
    def num_tokens(self) -> list[int]:
        """Tokens that the model read, of each sequence."""
        return [len(reading.ids) for reading in self.readings]


@dataclass(eq=False, slots=True)
class Job:
    """A request between the event loop, which made it and waits, and the thread that computes.

    `cancelled` says that nothing more need be computed; the rewards are the thread's alone.
    """

    readings: Sequence[Reading]
    future: asyncio.Future[Scored]
    arrived: float = field(default_factory=time.monotonic)
    cancelled: bool = False
    held: bool = True
    """Whether its tokens count as waiting; the batcher's alone."""
    _found: dict[int, tuple[Scores, int]] = field(default_factory=dict)

    @property
    def num_tokens(self) -> int:
        """Tokens of all sequences, prompts counted with each response."""
        return sum(len(reading.ids) for reading in self.readings)

    def put(self, place: int, scores: Scores, index: int) -> bool:
        """Note the reward of a sequence; True where it was the last one that was missing."""
        self._found[place] = scores, index
        return len(self._found) == len(self.readings)

    def finish(self) -> None:
        """Give the rewards to who waits for them."""
        found = [self._found[place] for place in range(len(self.readings))]
        result = Scored(
            self.readings,
            [scores.rewards[index] for scores, index in found],
            _column([(scores.uncertainty, index) for scores, index in found]),
            _column([(scores.components, index) for scores, index in found]),
            _column([(scores.members, index) for scores, index in found]),
        )
        self._tell(result)

    def fail(self, error: Exception) -> None:
        """Say why there are no rewards; nothing more is computed for it."""
        self.cancelled = True
        self._tell(error)

    def _tell(self, outcome: Scored | Exception) -> None:
        def tell() -> None:
            if self.future.done():
                return
            if isinstance(outcome, Scored):
                self.future.set_result(outcome)
            else:
                self.future.set_exception(outcome)
                # Marks it as seen: asyncio would log the words of one that nobody fetched.
                self.future.exception()

        with suppress(RuntimeError):  # The loop is closed, and nobody waits.
            self.future.get_loop().call_soon_threadsafe(tell)


def _column(entries: list[tuple[list[_Value] | None, int]]) -> list[_Value] | None:
    found = [values[index] for values, index in entries if values is not None]
    return found if len(found) == len(entries) and found else None
