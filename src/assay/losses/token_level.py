"""Token-level Bradley-Terry: two responses compared at every position where they differ.

L rewards, of all sequences one after the other, each from its own first position on; P positions of
a comparison.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from assay.data.encoding import EncodedGroup
from assay.data.records import Comparison
from assay.data.rendering import common_prefix
from assay.losses.pairs import Pairs, comparison_weights, offsets_of


def first_positions(groups: Sequence[EncodedGroup]) -> list[int]:
    """Of each sequence the first position whose reward some comparison of it reads.

    It is the first difference to another response: the depth of the place in the prefix tree where
    the two part. A response that another one continues has only its last reward there.
    """
    starts = []
    for group in groups:
        first = [len(ids) - 1 for ids in group.sequences]
        for comparison in group.comparisons:
            parted = _first_difference(group, comparison)
            for index in (comparison.a, comparison.b):
                first[index] = min(first[index], parted)
        starts += first
    return starts


def token_pairs(groups: Sequence[EncodedGroup], starts: Sequence[int], weight_by: str) -> Pairs:
    """Every position of every comparison as a comparison of its own.

    The positions of a comparison run from the first difference to the end of the longer response;
    after the shorter one ends, its last reward stands. Each has the comparison's weight over their
    number, so that `bradley_terry` of them sums the mean over positions of each comparison.

    Args:
        groups: groups with their comparisons.
        starts: `first_positions` of the groups.
        weight_by: as in `comparison_weights`.

    Returns:
        Comparisons between rewards of all sequences, one after the other, each from `starts` on.
    """
    sequences = [ids for group in groups for ids in group.sequences]
    begins = [0]
    for ids, start in zip(sequences, starts, strict=True):
        begins.append(begins[-1] + len(ids) - start)
    found: list[Pairs] = []
    for offset, group in offsets_of(groups):
        weights = comparison_weights(group, weight_by)
        for comparison, weight in zip(group.comparisons, weights, strict=True):
            sides = comparison.winner_loser or (comparison.a, comparison.b)
            lengths = [len(group.sequences[side]) for side in sides]
            position_P = torch.arange(_first_difference(group, comparison), max(lengths))
            better_P, worse_P = (
                position_P.clamp(max=length - 1) + begins[offset + side] - starts[offset + side]
                for side, length in zip(sides, lengths, strict=True)
            )
            one = Pairs.of([(0, comparison, weight / len(position_P))])
            found.append(one.repeated(better_P, worse_P))
    return Pairs.joined(found)


def _first_difference(group: EncodedGroup, comparison: Comparison) -> int:
    return common_prefix(group.sequences[comparison.a], group.sequences[comparison.b])
