"""What goes into one forward pass: packs of at most so many tree tokens.

Pure functions of token ids and budget, never of the number of processes.
"""

from __future__ import annotations

from collections.abc import Sequence

from assay.data.rendering import TokenIds, common_prefix
from assay.tree.layout import MIN_SHARED_TOKENS, reading_order, shared_lengths


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


def halved(costs: Sequence[int]) -> tuple[list[int], list[int]]:
    """Items in two parts, the first as near to half of the whole cost as items allow, not below."""
    reached = [1]  # Bit c of entry n: some of the first n items cost c together.
    for cost in costs:
        reached.append(reached[-1] | reached[-1] << cost)
    part = next(c for c in range(-(-sum(costs) // 2), sum(costs) + 1) if reached[-1] >> c & 1)
    parts: tuple[list[int], list[int]] = ([], [])
    for item in reversed(range(len(costs))):
        without = reached[item] >> part & 1
        parts[without].append(item)
        part -= 0 if without else costs[item]
    return parts[0][::-1], parts[1][::-1]


def cut_by_families(
    sequences: Sequence[TokenIds],
    families: Sequence[int],
    budget: int,
    *,
    kept_in_blocks_of: int | None = None,
) -> list[list[int]]:
    """Cut sequences into packs of at most `budget` tree tokens, neighbours in reading order.

    A family stays whole where it fits. One that does not is cut between its sequences, and each
    of its packs computes the common prefix again; a sequence above the budget stands alone.
    A prefix that families surely share (a system prompt) is counted once a pack. With
    `kept_in_blocks_of` the keys of the common prefix are kept between the packs of one family, in
    whole blocks of so many tokens, and cost nothing after the first.
    """
    members: dict[int, list[int]] = {}
    for index in reading_order(sequences):
        members.setdefault(families[index], []).append(index)
    packs: list[list[int]] = []
    used = budget
    before: TokenIds = ()
    for family in members.values():
        cost = tree_tokens([sequences[index] for index in family])
        own = cost - _surely_shared(before, sequences[family[0]])
        if cost > budget:
            packs += _cut_one_family(sequences, family, budget, kept_in_blocks_of)
            used, before = budget, ()
            continue
        if used + own > budget:
            packs.append(list(family))
            used = cost
        else:
            packs[-1] += family
            used += own
        before = sequences[family[0]]
    return packs


def pack_families(families: Sequence[Sequence[TokenIds]], budget: int) -> list[list[int]]:
    """Distribute families over packs of at most `budget` tree tokens, first fit decreasing.

    A prefix common to all of them is counted once a pack; a family above the budget stands alone.
    """
    if not families:
        return []
    first, others = families[0][0], [sequences[0] for sequences in families[1:]]
    common = min((_surely_shared(first, other) for other in others), default=0)
    costs = [tree_tokens(sequences) - common for sequences in families]
    return first_fit_decreasing(costs, budget - common)


def _surely_shared(first: TokenIds, second: TokenIds) -> int:
    """Tokens that two sequences share in every tree, whatever else stands in it."""
    common = common_prefix(first, second)
    return common if common >= MIN_SHARED_TOKENS else 0


def _cut_one_family(
    sequences: Sequence[TokenIds], family: Sequence[int], budget: int, block: int | None
) -> list[list[int]]:
    shared = shared_lengths(sequences, family)
    # A block may end anywhere in the last tokens of the prefix.
    kept = max(0, min(shared[1:], default=0) - block + 1) if block is not None else 0
    packs: list[list[int]] = []
    used = budget
    for index, prefix in zip(family, shared, strict=True):
        own = len(sequences[index])
        if not packs or used + own - prefix > budget:
            used = own - kept if packs else own
            packs.append([index])
        else:
            packs[-1].append(index)
            used += own - prefix
    return packs
