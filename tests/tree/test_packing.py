"""Packs: every sequence once, within the budget, families whole where they fit."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assay.data.rendering import TokenIds
from assay.tree import layout
from assay.tree.layout import MIN_SHARED_TOKENS, grow, reading_order
from assay.tree.packing import (
    cut_by_families,
    first_fit_decreasing,
    halved,
    pack_families,
    tree_tokens,
)

SEQUENCES = st.lists(
    st.lists(st.integers(1, 3), min_size=1, max_size=9).map(tuple), min_size=1, max_size=14
)


@given(SEQUENCES)
def test_tree_tokens_are_the_distinct_prefixes(sequences: list[TokenIds]) -> None:
    prefixes = {ids[: end + 1] for ids in sequences for end in range(len(ids))}
    assert tree_tokens(sequences) == len(prefixes) == len(grow(sequences).ids)


def test_tree_tokens_by_hand() -> None:
    assert tree_tokens([]) == 0
    assert tree_tokens([(1, 2, 3)]) == 3
    assert tree_tokens([(1, 2, 5), (1, 2, 3, 4), (1, 2), (1, 2, 5), (2,)]) == 6


LENGTHS = st.lists(st.integers(1, 100), max_size=30)


@given(LENGTHS, st.integers(1, 150))
def test_bins_hold_every_item_once_within_the_budget(lengths: list[int], budget: int) -> None:
    bins = first_fit_decreasing(lengths, budget)
    assert sorted(item for one in bins for item in one) == list(range(len(lengths)))
    for one in bins:
        assert one
        assert sum(lengths[item] for item in one) <= budget or len(one) == 1


@given(st.lists(st.integers(1, 50), max_size=30), st.integers(50, 150))
def test_no_two_bins_would_fit_into_one(lengths: list[int], budget: int) -> None:
    # First fit: what opened a later bin did not fit into an earlier one. Hence the bins are fewer
    # than twice what the tokens need at least.
    bins = first_fit_decreasing(lengths, budget)
    sums = [sum(lengths[item] for item in one) for one in bins]
    assert all(a + b > budget for i, a in enumerate(sums) for b in sums[i + 1 :])
    assert len(bins) <= max(1, 2 * math.ceil(sum(lengths) / budget))


def test_bins_by_hand() -> None:
    # Decreasing: 60 opens a bin, 50 another, 40 fits beside 60, 30 beside 50, 20 beside those.
    assert first_fit_decreasing([30, 60, 20, 50, 40], 100) == [[1, 4], [3, 0, 2]]
    # Above the budget: alone. Equal lengths: in their order.
    assert first_fit_decreasing([10, 120, 10], 100) == [[1], [0, 2]]
    assert first_fit_decreasing([], 100) == []


@given(st.lists(st.integers(1, 300), min_size=1, max_size=8))
def test_no_other_halves_are_nearer(costs: list[int]) -> None:
    first, second = halved(costs)
    assert sorted(first + second) == [*range(len(costs))]
    assert first == sorted(first)
    assert second == sorted(second)
    parts = [
        sum(cost for item, cost in enumerate(costs) if chosen >> item & 1)
        for chosen in range(1 << len(costs))
    ]
    larger = sum(costs[item] for item in first)
    assert larger == min(part for part in parts if 2 * part >= sum(costs))


def test_halves_by_hand() -> None:
    assert halved([5, 1, 4, 2]) in [([0, 1], [2, 3]), ([2, 3], [0, 1])]
    assert halved([7]) == ([0], [])
    assert halved([]) == ([], [])


# Families


@st.composite
def forests(draw: st.DrawFn) -> tuple[list[TokenIds], list[int]]:
    """Sequences with their families; equal ones may stand in several."""
    sequences = draw(SEQUENCES)
    size = len(sequences)
    return sequences, draw(st.lists(st.integers(0, 4), min_size=size, max_size=size))


def chosen(items: Sequence[TokenIds], indices: Sequence[int]) -> list[TokenIds]:
    return [items[index] for index in indices]


@given(forests(), st.integers(1, 40))
def test_packs_hold_every_sequence_once_within_the_budget(
    forest: tuple[list[TokenIds], list[int]], budget: int
) -> None:
    sequences, families = forest
    packs = cut_by_families(sequences, families, budget)
    assert sorted(index for pack in packs for index in pack) == list(range(len(sequences)))
    with pytest.MonkeyPatch.context() as patch:
        # In short sequences nearly any prefix pays between families; let none, as in long ones.
        patch.setattr(layout, "MIN_SHARED_PART", 2.0)
        for pack in packs:
            tree = grow(chosen(sequences, pack), families=[families[index] for index in pack])
            assert len(tree.ids) <= budget or len(pack) == 1


def within(sequences: Sequence[TokenIds], families: Sequence[int]) -> dict[int, list[int]]:
    """The sequences of each family in reading order; families by their first."""
    found: dict[int, list[int]] = {}
    for index in reading_order(sequences):
        found.setdefault(families[index], []).append(index)
    return found


@given(forests(), st.integers(1, 40))
def test_families_stay_whole_where_they_fit(
    forest: tuple[list[TokenIds], list[int]], budget: int
) -> None:
    sequences, families = forest
    packs = cut_by_families(sequences, families, budget)
    members = within(sequences, families)
    assert [index for pack in packs for index in pack] == [i for m in members.values() for i in m]
    whole = {f for f, m in members.items() if tree_tokens(chosen(sequences, m)) <= budget}
    for family, indices in members.items():
        holders = [pack for pack in packs if set(pack) & set(indices)]
        if family in whole:
            assert len(holders) == 1
        else:
            # Split, with no other family beside it; a single sequence cannot be split.
            assert len(holders) >= min(2, len(indices))
            assert all(set(pack) <= set(indices) for pack in holders)


@given(forests(), st.integers(1, 40))
def test_no_pack_could_have_taken_what_comes_next(
    forest: tuple[list[TokenIds], list[int]], budget: int
) -> None:
    sequences, families = forest
    members = within(sequences, families)
    cost = {family: tree_tokens(chosen(sequences, m)) for family, m in members.items()}
    for pack, following in pairwise(cut_by_families(sequences, families, budget)):
        inside, next_family = {families[index] for index in pack}, families[following[0]]
        if next_family in inside:  # Cut between its sequences.
            assert tree_tokens(chosen(sequences, [*pack, following[0]])) > budget
        elif max(cost[family] for family in (*inside, next_family)) <= budget:
            assert sum(cost[family] for family in inside) + cost[next_family] > budget


def test_packs_by_hand() -> None:
    # Reading order: 1 | 1 2 3 | 1 2 4 | 2 2 | 3 | 5 5 5 5. Family 7 costs 5 (1, 2, 3, 4 and 3),
    # family 8 two, family 9 five, its single token 1 included.
    sequences = [(5, 5, 5, 5), (2, 2), (1, 2, 3), (1, 2, 4), (3,), (1,)]
    families = [9, 8, 7, 7, 7, 9]
    assert cut_by_families(sequences, families, 7) == [[5, 0], [2, 3, 4, 1]]
    assert cut_by_families(sequences, families, 6) == [[5, 0], [2, 3, 4], [1]]
    assert cut_by_families(sequences, families, 100) == [[5, 0, 2, 3, 4, 1]]
    # Family 9 is cut into 1 and 5 5 5 5; family 7 into 1 2 3, 1 2 4 (four tokens) and 3.
    assert cut_by_families(sequences, families, 4) == [[5], [0], [2, 3], [4], [1]]
    # 1 2 4 computes 1 2 again; what is above the budget stands alone.
    assert cut_by_families(sequences, families, 3) == [[5], [0], [2], [3], [4], [1]]


def with_system(length: int, families: int, own: int = 2) -> list[list[TokenIds]]:
    """Families of two answers each under one system prompt."""
    system = tuple(range(length))
    return [
        [(*system, 1000 + family, *[2000 + answer] * own) for answer in (0, 1)]
        for family in range(families)
    ]


def test_a_system_prompt_is_counted_once_a_pack() -> None:
    families = with_system(40, 3)  # 40 tokens in common, 1 + 2 * 2 of each family's own.
    sequences = [ids for family in families for ids in family]
    numbers = [0, 0, 1, 1, 2, 2]
    assert cut_by_families(sequences, numbers, 50) == [[0, 1, 2, 3], [4, 5]]
    assert cut_by_families(sequences, numbers, 49) == [[0, 1], [2, 3], [4, 5]]
    assert cut_by_families(sequences, numbers, 55) == [[0, 1, 2, 3, 4, 5]]
    assert pack_families(families, 50) == [[0, 1], [2]]
    assert pack_families(families, 49) == [[0], [1], [2]]
    assert pack_families(families, 55) == [[0, 1, 2]]


def test_a_common_prefix_too_short_to_be_surely_shared_is_counted_in_each() -> None:
    families = with_system(MIN_SHARED_TOKENS - 1, 2)
    sequences = [ids for family in families for ids in family]
    cost = MIN_SHARED_TOKENS - 1 + 5
    assert cut_by_families(sequences, [0, 0, 1, 1], 2 * cost - 1) == [[0, 1], [2, 3]]
    assert pack_families(families, 2 * cost - 1) == [[0], [1]]
    assert pack_families(families, 2 * cost) == [[0, 1]]


def test_no_family_makes_no_pack() -> None:
    assert pack_families([], 10) == []


@given(
    families=st.lists(
        st.lists(st.lists(st.integers(0, 1), min_size=1, max_size=6), min_size=1, max_size=3),
        min_size=1,
        max_size=6,
    ),
    system=st.integers(0, 50),
    budget=st.integers(30, 140),
)
def test_no_pack_is_larger_than_the_budget(
    families: list[list[list[int]]], system: int, budget: int
) -> None:
    prompt = tuple(range(100, 100 + system))
    whole = [[(*prompt, *ids) for ids in family] for family in families]
    sequences = [ids for family in whole for ids in family]
    numbers = [number for number, family in enumerate(whole) for _ in family]

    def size(chosen: Sequence[int]) -> int:
        return len(
            grow(
                [sequences[index] for index in chosen],
                families=[numbers[index] for index in chosen],
            ).ids
        )

    for pack in cut_by_families(sequences, numbers, budget):
        assert size(pack) <= budget or len(pack) == 1
    for packed in pack_families(whole, budget):
        chosen = [index for index, number in enumerate(numbers) if number in packed]
        assert size(chosen) <= budget or len(packed) == 1
