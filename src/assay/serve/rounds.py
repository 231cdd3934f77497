"""What is computed together: of the requests that wait, those of the next round, and its passes.

A round is what the model does before it looks at the queue again. Requests are taken in the order
in which they came; those whose prompts are all in the round already may come along out of turn,
since they cost little more than their responses.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from assay.data.rendering import TokenIds, common_prefix
from assay.serve.items import Reading
from assay.serve.jobs import Job

PASSES_A_ROUND = 4
"""A round has about as many tree tokens as so many full passes: more would share more, and let the
first request wait for the last."""


def next_round(waiting: Iterable[Job], budget: int) -> list[Job]:
    """The requests of the next round, in order.

    Args:
        waiting: requests, the oldest first.
        budget: tree tokens of a round, as far as equal prompts tell; the first request is always
            taken, and companions of those that were taken may double it.
    """
    taken: list[Job] = []
    families: dict[str, TokenIds] = {}
    used = 0
    full = False
    for job in waiting:
        known = bool(taken) and all(reading.family in families for reading in job.readings)
        if full and not known:
            continue
        cost, new = _cost(job.readings, families)
        if taken and used + cost > (2 * budget if known else budget):
            full = True
            continue
        taken.append(job)
        families |= new
        used += cost
    return taken


def _cost(
    readings: Sequence[Reading], families: dict[str, TokenIds]
) -> tuple[int, dict[str, TokenIds]]:
    """Tokens that sequences add to a round, and the first sequence of each new family."""
    cost = 0
    new: dict[str, TokenIds] = {}
    for reading in readings:
        first = None
        if reading.family is not None:
            first = families.get(reading.family) or new.setdefault(reading.family, reading.ids)
        shared = 0 if first is None or first is reading.ids else common_prefix(first, reading.ids)
        cost += len(reading.ids) - shared
    return cost, new


def distinct_sequences(
    jobs: Sequence[Job],
) -> tuple[dict[TokenIds, list[tuple[Job, int]]], list[int]]:
    """Of a round each distinct sequence with who waits for it and where, and their families."""
    waiting: dict[TokenIds, list[tuple[Job, int]]] = {}
    families: list[int] = []
    numbers: dict[str, int] = {}
    for job in jobs:
        for place, reading in enumerate(job.readings):
            if reading.ids not in waiting:
                name = reading.family
                own = f" {len(families)}" if name is None else name
                families.append(numbers.setdefault(own, len(numbers)))
            waiting.setdefault(reading.ids, []).append((job, place))
    return waiting, families
