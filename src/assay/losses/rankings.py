"""Rankings of groups: those that the data state, or those that all comparisons agree on."""

from __future__ import annotations

from itertools import combinations

from assay.data.encoding import EncodedGroup
from assay.data.records import Outcome, Ranking
from assay.errors import DataError

_TURNED: dict[Outcome, Outcome] = {"a": "b", "b": "a", "tie": "tie"}


def rankings_of(group: EncodedGroup) -> tuple[Ranking, ...]:
    """Rankings of a group's sequences, best first, equal ones in one tuple.

    Where the data state none, the one ranking that its comparisons make, if they compare each two
    responses and contradict nowhere: never a guess.

    Raises:
        DataError: no ranking, and the comparisons do not make one; names the row.
    """
    return group.group.rankings or (_of_comparisons(group),)


def ranking_weight(group: EncodedGroup, weight_by: str, count: int) -> float:
    """Weight of each of a group's `count` rankings: the group's; by prompt, over their number."""
    return group.group.weight / (max(count, 1) if weight_by == "prompt" else 1)


def _of_comparisons(group: EncodedGroup) -> Ranking:
    count = len(group.sequences)
    order: dict[tuple[int, int], Outcome] = {}
    for comparison in group.comparisons:
        a, b, outcome = comparison.a, comparison.b, comparison.outcome
        if a > b:
            a, b, outcome = b, a, _TURNED[outcome]
        if order.setdefault((a, b), outcome) != outcome:
            raise _no_ranking(group, "its comparisons contradict each other")
    if len(order) < count * (count - 1) // 2:
        raise _no_ranking(group, "not every two of its responses are compared")
    beaten = [0] * count  # Of a ranking these numbers are equal just where ranks are.
    for (a, b), outcome in order.items():
        if outcome != "tie":
            beaten[a if outcome == "a" else b] += 1
    for a, b in combinations(range(count), 2):
        said = "tie" if beaten[a] == beaten[b] else "a" if beaten[a] > beaten[b] else "b"
        if order[a, b] != said:
            raise _no_ranking(group, "its comparisons go in a circle")
    ranks: dict[int, list[int]] = {}
    for index, number in enumerate(beaten):
        ranks.setdefault(number, []).append(index)
    return tuple(tuple(ranks[number]) for number in sorted(ranks, reverse=True))


def _no_ranking(group: EncodedGroup, why: str) -> DataError:
    return DataError(
        f"has no ranking, and none can be made: {why}",
        where=group.group.source,
        mend="use loss.kind bradley_terry, or leave the row out",
    )
