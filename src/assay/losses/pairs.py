"""Comparisons as tensors. C comparisons."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from assay.data.encoding import EncodedGroup
from assay.data.records import Comparison


@dataclass(frozen=True, slots=True)
class Pairs:
    """Comparisons as tensors: `better_C` and `worse_C` index rewards.

    A tie stands in either order with `target_C` one half and `margin_C` zero. `margin_C` is in the
    units of the data set, zero where a comparison states none.
    """

    better_C: Tensor
    worse_C: Tensor
    target_C: Tensor
    weight_C: Tensor
    margin_C: Tensor

    @classmethod
    def of(cls, comparisons: Iterable[tuple[int, Comparison, float]]) -> Pairs:
        """Build from (offset of the group's first reward, comparison, weight)."""
        better, worse, target, weights, margins = [], [], [], [], []
        for offset, comparison, weight in comparisons:
            first, second = comparison.winner_loser or (comparison.a, comparison.b)
            tied = comparison.outcome == "tie"
            better.append(offset + first)
            worse.append(offset + second)
            target.append(0.5 if tied else 1.0)
            weights.append(weight)
            margins.append(0.0 if tied else comparison.margin or 0.0)
        return cls(_indices(better), _indices(worse), *map(_numbers, (target, weights, margins)))

    def weighted(self, factors: Sequence[float]) -> Pairs:
        """The same comparisons, each weight times a factor."""
        return replace(self, weight_C=self.weight_C * _numbers(factors).to(self.weight_C))

    def repeated(self, better_P: Tensor, worse_P: Tensor) -> Pairs:
        """One comparison at several places: all of it as it is, but for where the rewards are."""
        rest = (self.target_C, self.weight_C, self.margin_C)
        return Pairs(better_P, worse_P, *(value.expand(len(better_P)) for value in rest))

    @classmethod
    def joined(cls, parts: Sequence[Pairs]) -> Pairs:
        """The comparisons of some, one after the other."""
        columns = [
            (part.better_C, part.worse_C, part.target_C, part.weight_C, part.margin_C)
            for part in parts or [cls.of([])]
        ]
        return cls(*map(torch.cat, zip(*columns, strict=True)))

    def gaps(self, rewards: Tensor) -> Tensor:
        """What the better has more than the worse; of rewards [R], or of members' values [R, M]."""
        return rewards[self.better_C] - rewards[self.worse_C]

    @property
    def tied_C(self) -> Tensor:
        """Which comparisons are ties."""
        return self.target_C == 0.5


def comparison_weights(group: EncodedGroup, weight_by: str) -> list[float]:
    """Weight of each comparison: its own and its group's; by prompt, over their number."""
    share = 1 / len(group.comparisons) if weight_by == "prompt" else 1.0
    return [group.group.weight * comparison.weight * share for comparison in group.comparisons]


def pairs_of(groups: Sequence[EncodedGroup], weight_by: str) -> Pairs:
    """Comparisons of groups over their concatenated sequences."""
    items = []
    for offset, group in offsets_of(groups):
        weights = comparison_weights(group, weight_by)
        items += [
            (offset, comparison, weight)
            for comparison, weight in zip(group.comparisons, weights, strict=True)
        ]
    return Pairs.of(items)


def offsets_of(groups: Sequence[EncodedGroup]) -> Iterable[tuple[int, EncodedGroup]]:
    """Each group with the place of its first sequence among the sequences of all."""
    offset = 0
    for group in groups:
        yield offset, group
        offset += len(group.sequences)


def _indices(values: Sequence[int]) -> Tensor:
    return torch.tensor(values, dtype=torch.long)


def _numbers(values: Sequence[float]) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)
