"""Encoded groups made by hand."""

from __future__ import annotations

from collections.abc import Sequence

from assay.data.encoding import EncodedGroup
from assay.data.records import Comparison, Group, Message, Ranking, Response, Source


def encoded(
    sequences: Sequence[Sequence[int]],
    comparisons: Sequence[Comparison] = (),
    *,
    rankings: tuple[Ranking, ...] = (),
    ratings: Sequence[dict[str, float]] = (),
    weight: float = 1.0,
    line: int = 1,
) -> EncodedGroup:
    """A group of sequences; `ratings` of each response."""
    rated = [*ratings, *[{}] * (len(sequences) - len(ratings))]
    group = Group(
        "id",
        Source("rows.jsonl", line),
        (Message("user", f"question {line}"),),
        tuple(Response((), dict(each)) for each in rated),
        tuple(comparisons),
        rankings=rankings,
        weight=weight,
    )
    return EncodedGroup(group, tuple(map(tuple, sequences)))
