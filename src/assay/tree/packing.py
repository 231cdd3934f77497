"""What goes into one forward pass: packs of at most so many tree tokens.

Pure functions of token ids and budget, never of the number of processes.
"""

from __future__ import annotations

from collections.abc import Sequence

from assay.data.rendering import TokenIds
from assay.tree.layout import reading_order, shared_lengths


def tree_tokens(sequences: Sequence[TokenIds]) -> int:
    """Tokens that are left when every common prefix is counted once."""
    return sum(map(len, sequences)) - sum(shared_lengths(sequences, reading_order(sequences)))


def first_fit_decreasing(costs: Sequence[int], budget: int) -> list[list[int]]:
    """Distribute items over bins of at most `budget`, the largest first, each where it fits first.

    An item above the budget gets a bin of its own.
    """
    bins: list[list[int]] = []
    room: list[int] = []
    for item in sorted(range(len(costs)), key=lambda i: (-costs[i], i)):
        for index, free in enumerate(room):
            if costs[item] <= free:
                bins[index].append(item)
                room[index] -= costs[item]
                break
        else:
            bins.append([item])
            room.append(budget - costs[item])
    return bins


def cut_by_families(
    sequences: Sequence[TokenIds], families: Sequence[int], budget: int
) -> list[list[int]]:
    """Cut sequences into packs of at most `budget` tree tokens, neighbours in reading order.

    A family stays whole where it fits. One that does not is cut between its sequences, and each
    of its packs computes the common prefix again; a sequence above the budget stands alone.
    """
    members: dict[int, list[int]] = {}
    for index in reading_order(sequences):
        members.setdefault(families[index], []).append(index)
    packs: list[list[int]] = []
    used = budget
    for family in members.values():
        cost = tree_tokens([sequences[index] for index in family])
        if cost > budget:
            packs += _cut_one_family(sequences, family, budget)
            used = budget
        elif used + cost > budget:
            packs.append(list(family))
            used = cost
        else:
            packs[-1] += family
            used += cost
    return packs


def _cut_one_family(
    sequences: Sequence[TokenIds], family: Sequence[int], budget: int
) -> list[list[int]]:
    shared = shared_lengths(sequences, family)
    packs: list[list[int]] = []
    used = budget
    for index, prefix in zip(family, shared, strict=True):
        own = len(sequences[index])
        if not packs or used + own - prefix > budget:
            packs.append([index])
            used = own
        else:
            packs[-1].append(index)
            used += own - prefix
    return packs
