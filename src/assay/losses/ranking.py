"""The objective over rankings."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from assay.data.encoding import EncodedGroup
from assay.data.records import Ranking
from assay.errors import DataError
from assay.losses.objective import GroupsLoss, Objective
from assay.losses.pairs import offsets_of
from assay.losses.plackett_luce import MOST_TIED, Stages, plackett_luce
from assay.losses.rankings import ranking_weight, rankings_of
from assay.model.heads import Member


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
        weight = ranking_weight(group, self.config.weight_by, len(telling))
        return [(ranking, weight) for ranking in telling]
