"""The objective over rankings: those that the data state, or that all comparisons agree on."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import combinations

from assay.data.encoding import EncodedGroup
from assay.data.records import Outcome, Ranking
from assay.errors import DataError
from assay.losses.objective import GroupsLoss, Objective
from assay.losses.pairs import offsets_of
from assay.losses.plackett_luce import MOST_TIED, Stages, plackett_luce
from assay.model.heads import Member

_TURNED: dict[Outcome, Outcome] = {"a": "b", "b": "a", "tie": "tie"}


class Rankings(Objective):
    """Plackett-Luce of the last rewards. Units: weights of rankings that say something."""

    unit_name = "rankings"

    def units(self, group: EncodedGroup) -> float:
        """The sum of the weights of its rankings."""
        return sum(weight for _, weight in self._weighted(group))

    def loss_of(self, groups: Sequence[EncodedGroup]) -> GroupsLoss:
        """Of rewards [R]."""
        stages = Stages.of(
            [
                (offset, ranking, weight)
                for offset, group in offsets_of(groups)
                for ranking, weight in self._weighted(group)
            ],
            self.config.ranking_ties,
        )
        return GroupsLoss(lambda reward_R: plackett_luce(reward_R, stages))

    def prepare(self, groups: Iterable[EncodedGroup]) -> tuple[Member, ...] | None:
        """Refuse a group without a ranking, or with too many responses of equal rank."""
        for group in groups:
            for ranking, _ in self._weighted(group):
                most = max(map(len, ranking))
                if self.config.ranking_ties == "orders" and most > MOST_TIED:
                    raise DataError(
                        f"{most} responses have one rank, and loss.ranking_ties orders counts the "
                        f"orders of at most {MOST_TIED}",
                        where=group.group.source,
                        mend="set loss.ranking_ties: breslow",
                    )
        return None

    def _weighted(self, group: EncodedGroup) -> list[tuple[Ranking, float]]:
        least = 2 if self.config.ranking_ties == "orders" else 1
        telling = [
            ranking
            for ranking in rankings_of(group)
            if sum(map(len, ranking)) > 1 and sum(map(bool, ranking)) >= least
        ]
        weight = group.group.weight
        if telling and not group.group.rankings:
            weight *= group.comparisons[0].weight  # All have this one.
        share = max(len(telling), 1) if self.config.weight_by == "prompt" else 1
        return [(ranking, weight / share) for ranking in telling]


def rankings_of(group: EncodedGroup) -> tuple[Ranking, ...]:
    """Rankings of a group's sequences, best first, equal ones in one tuple.

    Where the data state none, the one ranking that its comparisons make, if they compare each two
    responses, have one weight and contradict nowhere: never a guess.

    Raises:
        DataError: no ranking, and the comparisons do not make one; names the row.
    """
    return group.group.rankings or (_of_comparisons(group),)


def _of_comparisons(group: EncodedGroup) -> Ranking:
    if len({comparison.weight for comparison in group.comparisons}) > 1:
        raise _no_ranking(group, "its comparisons have different weights")
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
