"""What a training step needs of a loss.

A loss is a pure function of rewards that returns a sum; the step divides it by the units of the
whole optimizer step, known before any forward pass, so that cutting a step into passes changes
nothing.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from torch import Tensor

from assay.config import LossConfig
from assay.data.encoding import EncodedGroup
from assay.model.heads import Member


@dataclass(frozen=True, slots=True)
class GroupsLoss:
    """The loss of some groups, a function of the rewards of their concatenated sequences.

    `sum_of` takes a reward a sequence [R]; with `Objective.num_members` a row of values [R, M];
    with `starts`, the first position of each sequence whose reward is read, a reward a token [L].
    """

    sum_of: Callable[[Tensor], Tensor]
    starts: list[int] | None = None


class Objective(ABC):
    """A loss with its settings.

    Args:
        config: the recipe's section.
        seed: of the run; only bootstrap samples depend on it.
    """

    unit_name = "comparisons"

    def __init__(self, config: LossConfig, seed: int) -> None:
        self.config = config
        self.seed = seed

    @property
    def num_members(self) -> int | None:
        """Heads whose values the loss reads, as columns; None for the one reward."""
        return None

    @property
    def reads_tokens(self) -> bool:
        """Whether its losses have `starts`: they read a reward for each token."""
        return False

    @abstractmethod
    def units(self, group: EncodedGroup) -> float:
        """What a group adds to the number that the sum is divided by."""

    @abstractmethod
    def loss_of(self, groups: Sequence[EncodedGroup]) -> GroupsLoss:
        """The sum over groups."""

    def parts(
        self, rewards: Tensor, groups: Sequence[EncodedGroup]
    ) -> dict[str, tuple[float, float]]:
        """Numbers for the log by name, each a sum and the units that it is divided by."""
        return {}

    def prepare(self, groups: Iterable[EncodedGroup]) -> tuple[Member, ...] | None:
        """Look at what is to be trained on, before anything is, and say which heads it takes.

        Raises:
            DataError: the data lack what the loss needs; names the first row.
        """
        return None
