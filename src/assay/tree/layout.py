"""The prefix tree of a set of sequences, as plain data: each distinct prefix token stands once.

Sequences are taken in lexicographic order. There the longest prefix that a sequence has in common
with any earlier one is the prefix that it has in common with the one just before it, so that a
sequence is the first rows of its predecessor followed by rows of its own. Rows that are new stand
together as a segment; what comes before them is the segment's path. Nothing is known here of
templates: shared prefixes are found in the token ids, at any depth.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

from assay.data.rendering import TokenIds, common_prefix

MIN_SHARED_TOKENS = 32
"""Sequences of different families always share a prefix of at least so many tokens."""
MIN_SHARED_PART = 0.05
"""They share a shorter one where it saves at least this part of the pack. Below, the additional
attention costs more than the tokens."""


class Span(NamedTuple):
    """Rows from `start` up to, not including, `stop`."""

    start: int
    stop: int


class Segment(NamedTuple):
    """Consecutive rows that attend to each other causally, and to all rows of their path.

    `path` holds the rows of the ancestors, root first: their number is the depth of the first row.
    """

    rows: Span
    path: tuple[Span, ...]

    @property
    def num_rows(self) -> int:
        """Rows of its own."""
        return self.rows.stop - self.rows.start

    @property
    def depth(self) -> int:
        """Position of its first row."""
        return sum(span.stop - span.start for span in self.path)


@dataclass(frozen=True, slots=True)
class Tree:
    """A prefix tree in rows. T rows, R sequences in the order in which they were given.

    `ids` and `positions` (depth in the tree) have T entries. `sequences[r]` are the rows of
    sequence r as spans: read one after the other, they give its token ids back.
    """

    ids: tuple[int, ...]
    positions: tuple[int, ...]
    segments: tuple[Segment, ...]
    sequences: tuple[tuple[Span, ...], ...]

    @property
    def scored_rows(self) -> tuple[int, ...]:
        """The row of each sequence's last token; it may lie inside a segment."""
        return tuple(spans[-1].stop - 1 for spans in self.sequences)

    def path_index(self, sequence: int) -> list[int]:
        """The row of each token of one sequence."""
        return [row for start, stop in self.sequences[sequence] for row in range(start, stop)]


def grow(
    sequences: Sequence[TokenIds], *, families: Sequence[int] | None = None, share: bool = True
) -> Tree:
    """The tree of some sequences.

    Args:
        sequences: token ids, none of them empty.
        families: a number for each sequence. Within a family every common prefix is shared, and
            between families those that save enough. By default all are one family.
        share: False keeps every sequence apart: a forest without a common prefix.
    """
    order = reading_order(sequences)
    shared = shared_lengths(sequences, order, families) if share else [0] * len(order)
    ids: list[int] = []
    positions: list[int] = []
    segments: list[Segment] = []
    spans: list[tuple[Span, ...]] = [()] * len(order)
    before: tuple[Span, ...] = ()
    for index, depth in zip(order, shared, strict=True):
        path = first_spans(before, depth)
        start, own = len(ids), sequences[index][depth:]
        ids += own
        positions += range(depth, depth + len(own))
        rows = Span(start, len(ids))
        if own and path == before and path and path[-1].stop == start:
            # The sequence goes on where the last one ended: its segment grows.
            last = segments.pop()
            segments.append(Segment(Span(last.rows.start, rows.stop), last.path))
        elif own:
            segments.append(Segment(rows, path))
        before = joined(path, rows) if own else path
        spans[index] = before
    return Tree(tuple(ids), tuple(positions), tuple(segments), tuple(spans))


def reading_order(sequences: Sequence[TokenIds]) -> list[int]:
    """Indices in lexicographic order of the ids; equal ones in the order in which they came."""
    return sorted(range(len(sequences)), key=lambda index: tuple(sequences[index]))


def shared_lengths(
    sequences: Sequence[TokenIds], order: Sequence[int], families: Sequence[int] | None = None
) -> list[int]:
    """How many tokens each sequence, in `order`, takes over from the one before it."""
    if not order:
        return []
    common = [common_prefix(sequences[a], sequences[b]) for a, b in pairwise(order)]
    if families is None:
        return [0, *common]
    needed = _needed_by_families([families[index] for index in order], common)
    num_tokens = sum(map(len, sequences)) - sum(needed)
    enough = MIN_SHARED_PART * num_tokens
    return [0, *(_worthwhile(at, common, needed, enough) for at in range(len(common)))]


def _needed_by_families(families: Sequence[int], common: Sequence[int]) -> list[int]:
    """What must be shared at each boundary so that each family shares all it has in common."""
    needed = [0] * len(common)
    last: dict[int, int] = {}
    for at, family in enumerate(families):
        if family in last:
            between = range(last[family], at)
            least = min(common[boundary] for boundary in between)
            for boundary in between:
                needed[boundary] = max(needed[boundary], least)
        last[family] = at
    return needed


def _worthwhile(at: int, common: Sequence[int], needed: Sequence[int], enough: float) -> int:
    """The deepest prefix at a boundary that saves enough, there or all along the boundaries that
    have it in common; without one, what the families need."""
    first, last, depth = at, at, common[at]
    if depth >= MIN_SHARED_TOKENS:
        return depth
    while depth > needed[at]:
        while first and common[first - 1] >= depth:
            first -= 1
        while last + 1 < len(common) and common[last + 1] >= depth:
            last += 1
        saved = sum(max(depth - needed[boundary], 0) for boundary in range(first, last + 1))
        if saved >= enough:
            return depth
        # A shallower prefix may be common to more.
        left = common[first - 1] if first else 0
        right = common[last + 1] if last + 1 < len(common) else 0
        depth = max(left, right)
    return needed[at]


def first_spans(spans: Sequence[Span], length: int) -> tuple[Span, ...]:
    """The first `length` rows of some spans."""
    taken: list[Span] = []
    for start, stop in spans:
        if length <= 0:
            break
        taken.append(Span(start, min(stop, start + length)))
        length -= stop - start
    return tuple(taken)


def joined(path: tuple[Span, ...], rows: Span) -> tuple[Span, ...]:
    """A path and the rows after it; touching spans become one."""
    if path and path[-1].stop == rows.start:
        return (*path[:-1], Span(path[-1].start, rows.stop))
    return (*path, rows)
