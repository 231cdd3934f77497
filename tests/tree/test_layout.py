"""Prefix trees by hand, and that any tree is its sequences, each shared prefix once."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assay.data.rendering import TokenIds, common_prefix
from assay.tree import layout
from assay.tree.layout import (
    MIN_SHARED_PART,
    MIN_SHARED_TOKENS,
    Segment,
    Span,
    Tree,
    grow,
    reading_order,
    shared_lengths,
)


def path(*spans: tuple[int, int]) -> tuple[Span, ...]:
    return tuple(Span(*span) for span in spans)


def segment(rows: tuple[int, int], *spans: tuple[int, int]) -> Segment:
    return Segment(Span(*rows), path(*spans))


# By hand


def test_one_response() -> None:
    tree = grow([(7, 8, 7)])
    assert tree.ids == (7, 8, 7)
    assert tree.positions == (0, 1, 2)
    assert tree.segments == (segment((0, 3)),)
    assert tree.sequences == (path((0, 3)),)
    assert tree.scored_rows == (2,)


def test_two_responses() -> None:
    # Read in lexicographic order: the second comes first, and holds the prompt.
    tree = grow([(1, 2, 5), (1, 2, 3, 4)])
    assert tree.ids == (1, 2, 3, 4, 5)
    assert tree.positions == (0, 1, 2, 3, 2)
    assert tree.segments == (segment((0, 4)), segment((4, 5), (0, 2)))
    assert tree.sequences == (path((0, 2), (4, 5)), path((0, 4)))
    assert tree.scored_rows == (4, 3)
    assert (tree.segments[1].depth, tree.segments[1].num_rows) == (2, 1)


def test_nine_responses() -> None:
    # Prompt 1 2, then 10, 11, ... with one, two or three tokens in turn, given from the last on.
    lengths = [1, 2, 3] * 3
    sequences = [(1, 2, 10 + i, *[5] * (length - 1)) for i, length in enumerate(lengths)]
    tree = grow(sequences[::-1])
    assert len(tree.ids) == 2 + sum(lengths)
    # The first stands in one segment with the prompt, as rows 0 to 2.
    ends = [3, 5, 8, 9, 11, 14, 15, 17, 20]
    assert tree.segments == (
        segment((0, 3)),
        *(segment(rows, (0, 2)) for rows in pairwise(ends)),
    )
    assert tree.scored_rows == tuple(end - 1 for end in ends[::-1])
    assert tree.positions == (0, 1, *(2 + i for length in lengths for i in range(length)))


def test_a_response_that_is_a_prefix_of_another_has_its_row_inside() -> None:
    tree = grow([(1, 2, 3, 4), (1, 2), (1, 2, 3)])
    assert tree.segments == (segment((0, 4)),)
    assert tree.scored_rows == (3, 1, 2)


def test_a_prefix_that_goes_on_behind_a_branch() -> None:
    # 1 2 | 1 2 3 | 1 2 3 4 grow one segment; 1 2 5 6 branches off at 2 and is itself continued by
    # 1 2 5 6 7, whose sibling 1 2 5 8 sees rows 0, 1 and the row of 5.
    tree = grow([(1, 2), (1, 2, 3), (1, 2, 3, 4), (1, 2, 5, 6), (1, 2, 5, 6, 7), (1, 2, 5, 8)])
    assert tree.ids == (1, 2, 3, 4, 5, 6, 7, 8)
    assert tree.positions == (0, 1, 2, 3, 2, 3, 4, 3)
    assert tree.segments == (
        segment((0, 4)),
        segment((4, 7), (0, 2)),
        segment((7, 8), (0, 2), (4, 5)),
    )
    assert tree.scored_rows == (1, 2, 3, 5, 6, 7)


def test_a_prefix_is_continued_after_other_continuations() -> None:
    # 1 ends in row 0, and 1 3 goes on there when row 1 is taken: a segment of its own.
    tree = grow([(1,), (1, 2), (1, 3)])
    assert tree.segments == (segment((0, 2)), segment((2, 3), (0, 1)))
    assert tree.scored_rows == (0, 1, 2)


def test_duplicates_share_their_rows() -> None:
    tree = grow([(1, 2), (1, 3), (1, 2), (1, 3), (1, 2, 4)])
    assert tree.ids == (1, 2, 4, 3)
    assert tree.segments == (segment((0, 3)), segment((3, 4), (0, 1)))
    assert tree.scored_rows == (1, 3, 1, 3, 2)


def test_history_that_is_shared_at_three_depths() -> None:
    # System 1 2, question 3, answer 4 5, question 6; responses after the system prompt, after the
    # first question and two after the second.
    tree = grow([(1, 2, 7), (1, 2, 3, 8, 9), (1, 2, 3, 4, 5, 6, 10), (1, 2, 3, 4, 5, 6, 11, 12)])
    assert tree.ids == (1, 2, 3, 4, 5, 6, 10, 11, 12, 8, 9, 7)
    assert tree.positions == (0, 1, 2, 3, 4, 5, 6, 6, 7, 3, 4, 2)
    assert tree.segments == (
        segment((0, 7)),
        segment((7, 9), (0, 6)),
        segment((9, 11), (0, 3)),
        segment((11, 12), (0, 2)),
    )
    assert tree.scored_rows == (11, 10, 6, 8)


def test_nothing_is_shared_when_told_so() -> None:
    tree = grow([(1, 2), (1, 2, 3), (1, 2)], families=[0, 0, 0], share=False)
    assert tree.ids == (1, 2, 1, 2, 1, 2, 3)
    assert tree.positions == (0, 1, 0, 1, 0, 1, 2)
    assert tree.segments == (segment((0, 2)), segment((2, 4)), segment((4, 7)))
    assert tree.scored_rows == (1, 6, 3)


# Between families


def grown(system: int, lengths: Sequence[int], families: Sequence[int] | None = None) -> int:
    """Rows of sequences of these lengths whose first `system` tokens are common, no more."""
    sequences = [
        (*range(system), *(1000 * (i + 1) + n for n in range(length - system)))
        for i, length in enumerate(lengths)
    ]
    return len(grow(sequences, families=families or range(len(lengths))).ids)


def test_a_common_prefix_of_two_families_is_shared_from_its_least_length_on() -> None:
    # Two families of one sequence each, 800 tokens: 5% are 40, which 32 do not save.
    assert MIN_SHARED_PART * 800 > MIN_SHARED_TOKENS
    assert grown(MIN_SHARED_TOKENS - 1, [400, 400]) == 800
    assert grown(MIN_SHARED_TOKENS, [400, 400]) == 800 - MIN_SHARED_TOKENS


def test_a_short_common_prefix_is_shared_where_it_saves_its_part() -> None:
    # 10 of 200 tokens are 5%, of 201 they are less.
    assert grown(10, [100, 100]) == 190
    assert grown(10, [100, 101]) == 201
    # Of five families four save it: 4 * 7 >= 5% of 500 > 4 * 6.
    assert grown(7, [100] * 5) == 472
    assert grown(6, [100] * 5) == 500


def test_the_part_is_of_what_families_do_not_share_anyway() -> None:
    # A family of two with 60 tokens in common, and one sequence: 100 + 100 + 100 - 60 = 240 are
    # left, of which 12 are 5%.
    def sequences(system: int) -> list[TokenIds]:
        start = tuple(range(system))
        first = (*start, *range(100, 160 - system))
        return [
            (*first, *range(200, 240)),
            (*first, *range(300, 340)),
            (*start, *range(400, 500 - system)),
        ]

    assert len(grow(sequences(12), families=[0, 0, 1]).ids) == 228
    assert len(grow(sequences(11), families=[0, 0, 1]).ids) == 240


def test_a_prefix_of_the_least_length_is_shared_whatever_families_share_anyway() -> None:
    # Cutting into packs counts on it. Family 0 has 10 tokens in common, and family 1 between its
    # two has those, too, and `more` with the first.
    def shared(more: int) -> int:
        first = tuple(range(10 + more))
        sequences = [
            (*first, *range(1000, 1400 - more)),
            (*first, *range(2000, 2400 - more)),
            (*first[:10], *range(3000, 3400)),
        ]
        return 3 * 410 - len(grow(sequences, families=[0, 1, 0]).ids)

    assert MIN_SHARED_PART * 1200 > MIN_SHARED_TOKENS
    assert shared(MIN_SHARED_TOKENS - 11) == 2 * 10
    assert shared(MIN_SHARED_TOKENS - 10) == 10 + MIN_SHARED_TOKENS


def test_a_token_more_in_common_does_not_undo_the_system_prompt() -> None:
    # Six families, a system prompt of 7 that saves 35 of 600; two go on with the same token, as
    # two questions that begin with one word do. That token alone saves nothing to speak of.
    system = tuple(range(7))
    firsts = [10, 11, 12, 12, 13, 14]
    sequences = [
        (*system, first, *range(1000 * i, 1000 * i + 92)) for i, first in enumerate(firsts, 1)
    ]
    tree = grow(sequences, families=range(6))
    assert len(tree.ids) == 600 - 5 * 7
    assert all(one.depth in (0, 7) for one in tree.segments)


# Any sequences

SEQUENCES = st.lists(
    st.lists(st.integers(1, 3), min_size=1, max_size=7).map(tuple), min_size=1, max_size=10
)
STRETCH = st.sampled_from([1, 12])
"""Times that each token stands there: 3 tokens are then more than MIN_SHARED_TOKENS, 2 are less."""
PARTS = st.sampled_from([MIN_SHARED_PART, 2.0])
"""What saves its part of a few short sequences: nearly any prefix, or none at all."""


def grown_with(part: float, sequences: Sequence[TokenIds], families: Sequence[int]) -> Tree:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(layout, "MIN_SHARED_PART", part)
        return grow(sequences, families=families)


def stretched(sequences: Sequence[TokenIds], times: int) -> list[TokenIds]:
    return [tuple(token for token in ids for _ in range(times)) for ids in sequences]


@st.composite
def forests(draw: st.DrawFn, *, unique: bool = False) -> tuple[list[TokenIds], list[int]]:
    """Sequences with their families."""
    found = draw(SEQUENCES)
    found = list(dict.fromkeys(found)) if unique else found
    families = draw(st.lists(st.integers(0, 3), min_size=len(found), max_size=len(found)))
    return stretched(found, draw(STRETCH)), families


def prefixes(sequences: Sequence[TokenIds]) -> set[TokenIds]:
    return {ids[: end + 1] for ids in sequences for end in range(len(ids))}


def ancestors(tree: Tree) -> list[list[int]]:
    """For each row what it may see, itself last, as segments say it."""
    found: list[list[int]] = []
    for one in tree.segments:
        above = [row for span in one.path for row in range(*span)]
        assert len(above) == one.depth
        for row in range(*one.rows):
            above.append(row)
            found.append(list(above))
    return found


def check(tree: Tree, sequences: Sequence[TokenIds]) -> None:
    """What holds of every tree, whatever it shares."""
    # Every row belongs to exactly one segment, and to a sequence.
    rows = [row for one in tree.segments for row in range(*one.rows)]
    assert rows == list(range(len(tree.ids))) == list(range(len(tree.positions)))
    paths = [tree.path_index(index) for index in range(len(sequences))]
    assert {row for path in paths for row in path} == set(rows)
    seen = ancestors(tree)
    assert [len(above) - 1 for above in seen] == list(tree.positions)
    assert len(tree.scored_rows) == len(sequences)
    for ids, scored, path in zip(sequences, tree.scored_rows, paths, strict=True):
        assert tuple(tree.ids[row] for row in path) == ids
        assert [tree.positions[row] for row in path] == list(range(len(ids)))
        assert scored == path[-1]
        # What a row sees is just what stands before it in its sequence.
        assert all(seen[row] == path[: depth + 1] for depth, row in enumerate(path))


@given(SEQUENCES)
def test_a_tree_is_its_sequences_each_prefix_once(sequences: list[TokenIds]) -> None:
    tree = grow(sequences)
    check(tree, sequences)
    assert len(tree.ids) == len(prefixes(sequences))
    assert grow(sequences, families=[5] * len(sequences)) == tree


@given(SEQUENCES)
def test_a_forest_that_shares_nothing_is_its_sequences(sequences: list[TokenIds]) -> None:
    tree = grow(sequences, share=False)
    check(tree, sequences)
    assert len(tree.ids) == sum(map(len, sequences))
    assert all(not one.path for one in tree.segments)


@given(forests(), PARTS)
def test_a_family_shares_all_it_has_in_common(
    forest: tuple[list[TokenIds], list[int]], part: float
) -> None:
    # Also where sequences of other families lie between its own in lexicographic order.
    sequences, families = forest
    tree = grown_with(part, sequences, families)
    check(tree, sequences)
    row_of: dict[tuple[int, TokenIds], int] = {}
    for index, (ids, family) in enumerate(zip(sequences, families, strict=True)):
        for end, row in enumerate(tree.path_index(index), 1):
            assert row_of.setdefault((family, ids[:end]), row) == row
    by_family = [prefixes([s for s, f in zip(*forest, strict=True) if f == k]) for k in range(4)]
    assert len(prefixes(sequences)) <= len(tree.ids) <= sum(map(len, by_family))


def shares_by_trying(
    sequences: Sequence[TokenIds], families: Sequence[int], part: float
) -> list[int]:
    """What each sequence shares with the one before it in reading order: the deepest prefix that
    pays, of all there are."""
    order = reading_order(sequences)
    items = [(sequences[index], families[index]) for index in order]
    common = [common_prefix(one, other) for (one, _), (other, _) in pairwise(items)]
    needed = [
        max(
            (
                common_prefix(one, other)
                for one, family in items[: at + 1]
                for other, same in items[at + 1 :]
                if family == same
            ),
            default=0,
        )
        for at in range(len(common))
    ]
    enough = part * (sum(map(len, sequences)) - sum(needed))

    def pays(at: int, depth: int) -> bool:
        prefix = items[at][0][:depth]
        saved = [
            max(depth - needed[b], 0)
            for b in range(len(common))
            if common[b] >= depth and items[b][0][:depth] == prefix
        ]
        return depth >= MIN_SHARED_TOKENS or sum(saved) >= enough

    return [
        max(
            depth
            for depth in range(needed[at], common[at] + 1)
            if depth == needed[at] or pays(at, depth)
        )
        for at in range(len(common))
    ]


@given(forests(), st.sampled_from([MIN_SHARED_PART, 0.2, 0.5]))
def test_between_families_the_deepest_prefix_that_pays_is_shared(
    forest: tuple[list[TokenIds], list[int]], part: float
) -> None:
    sequences, families = forest
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(layout, "MIN_SHARED_PART", part)
        found = shared_lengths(sequences, reading_order(sequences), families)
    assert found == [0, *shares_by_trying(sequences, families, part)]


def test_a_family_shares_across_another_that_lies_between() -> None:
    # Families 0, 1, 0 in this order, and 16 other sequences, so that nothing pays between
    # families: only because 0 shares 1 2 with itself does 1 share it, too.
    between = [(1, 2, 3, 3), (1, 2, 4, 4), (1, 2, 5, 5)]
    others = [tuple(range(100 * i, 100 * i + 10)) for i in range(1, 17)]
    families = [0, 1, 0, *range(2, 18)]
    tree = grow([*between, *others], families=families)
    assert [tree.path_index(index) for index in range(3)] == [
        [0, 1, 2, 3],
        [0, 1, 4, 5],
        [0, 1, 6, 7],
    ]
    # Of a family of its own each stands apart.
    assert len(grow([*between, *others], families=range(19)).ids) == 12 + 160


@given(forests(unique=True), PARTS, st.randoms(use_true_random=False))
def test_the_order_of_the_input_decides_the_mapping_only(
    forest: tuple[list[TokenIds], list[int]], part: float, chance: Random
) -> None:
    sequences, families = forest
    order = list(range(len(sequences)))
    chance.shuffle(order)
    tree = grown_with(part, sequences, families)
    other = grown_with(part, [sequences[i] for i in order], [families[i] for i in order])
    assert (other.ids, other.positions, other.segments) == (tree.ids, tree.positions, tree.segments)
    assert other.sequences == tuple(tree.sequences[i] for i in order)


@given(SEQUENCES)
def test_reading_order_is_lexicographic_and_stable(sequences: list[TokenIds]) -> None:
    order = reading_order(sequences)
    assert order == [i for _, i in sorted((ids, i) for i, ids in enumerate(sequences))]


@given(st.lists(st.integers(0, 1), max_size=8), st.lists(st.integers(0, 1), max_size=8))
def test_common_prefixes_by_counting(one: list[int], other: list[int]) -> None:
    count = 0
    while count < min(len(one), len(other)) and one[count] == other[count]:
        count += 1
    assert common_prefix(tuple(one), tuple(other)) == count
