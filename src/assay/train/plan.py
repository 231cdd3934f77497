"""The plan of a run: which groups stand in which step.

A pure function of the number of groups, seed, epoch and batch: never of the number of processes,
so that resuming means computing the plan again and jumping to a step. How a step is cut into
packs, `assay.tree.packing` says.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from typing import Any

import numpy as np


@dataclass(frozen=True, slots=True)
class Plan:
    """Steps over `num_groups` groups. The last batch of an epoch may be smaller; it is kept."""

    num_groups: int
    global_batch_size: int
    seed: int
    num_steps: int

    @classmethod
    def of(
        cls,
        num_groups: int,
        global_batch_size: int,
        seed: int,
        num_train_epochs: float,
        max_steps: int | None,
    ) -> Plan:
        """The plan of a recipe; `max_steps`, where given, decides alone."""
        per_epoch = math.ceil(num_groups / global_batch_size)
        steps = max_steps or part_of_steps(num_train_epochs, per_epoch)
        return cls(num_groups, global_batch_size, seed, steps)

    @property
    def steps_per_epoch(self) -> int:
        """Optimizer steps in one pass over the data."""
        return math.ceil(self.num_groups / self.global_batch_size)

    @property
    def num_epochs(self) -> int:
        """Epochs begun."""
        return math.ceil(self.num_steps / self.steps_per_epoch)

    def epoch_of(self, step: int) -> int:
        """The 0-based epoch of a 0-based step."""
        return step // self.steps_per_epoch

    def groups_of(self, step: int) -> list[int]:
        """Indices of the groups in a 0-based step."""
        order = _order(self.num_groups, self.seed, self.epoch_of(step))
        start = (step % self.steps_per_epoch) * self.global_batch_size
        return [int(index) for index in order[start : start + self.global_batch_size]]


def part_of_steps(part: float, steps: int) -> int:
    """A part (or a multiple) of so many steps, rounded up: 1.1 of 10 are 11.

    As the number is written: to floats 1.1 x 10 is more than 11.
    """
    return math.ceil(Fraction(str(part)) * steps)


@lru_cache(2)
def _order(num_groups: int, seed: int, epoch: int) -> Any:
    """The groups of an epoch, shuffled; drawn once for all its steps."""
    return np.random.default_rng([seed, epoch]).permutation(num_groups)
