"""The objective over ratings: a head for each attribute."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

from torch import Tensor

from assay.data.encoding import EncodedGroup
from assay.errors import DataError
from assay.losses.objective import GroupsLoss, Objective
from assay.losses.pairs import offsets_of
from assay.losses.regression import Ratings, squared_error, squared_errors
from assay.model.heads import Member


class Attributes(Objective):
    """Squared error of a head for each attribute. Units: weights of ratings.

    A head's offset is the mean rating of the training data and not trained: nothing is left for
    its row to learn but what differs between responses.
    """

    unit_name = "ratings"

    @property
    def num_members(self) -> int | None:
        """One head for each attribute, also where there is one."""
        return len(self.config.attributes)

    def units(self, group: EncodedGroup) -> float:
        """The sum of the weights of its ratings."""
        return sum(weight for *_, weight in self._rated(group))

    def loss_of(self, groups: Sequence[EncodedGroup]) -> GroupsLoss:
        """Of the heads' values [R, M]."""
        ratings = self._ratings(groups)
        return GroupsLoss(lambda value_RM: squared_error(value_RM, ratings))

    def parts(
        self, rewards: Tensor, groups: Sequence[EncodedGroup]
    ) -> dict[str, tuple[float, float]]:
        """The squared error of each attribute."""
        ratings = self._ratings(groups)
        names = list(self.config.attributes)
        errors = squared_errors(rewards, ratings, len(names)).tolist()
        units = [
            float(ratings.weight_V[ratings.head_V == head].sum()) for head in range(len(names))
        ]
        return {
            f"squared_error/{name}": (error, unit)
            for name, error, unit in zip(names, errors, units, strict=True)
            if unit
        }

    def prepare(self, groups: Iterable[EncodedGroup]) -> tuple[Member, ...] | None:
        """Refuse attributes that no response has, and groups with none of them."""
        names = list(self.config.attributes)
        sums, counts = [0.0] * len(names), [0] * len(names)
        others: Counter[str] = Counter()
        for group in groups:
            rated = list(self._rated(group))
            if not rated:
                found = {name for answer in group.group.responses for name in answer.ratings}
                raise DataError(
                    f"no response is rated by {', '.join(names)}"
                    + (f", only by {', '.join(sorted(found))}" if found else ""),
                    where=group.group.source,
                    mend="name its ratings in loss.attributes, or leave the source out",
                )
            for _, head, rating, _ in rated:
                sums[head] += rating
                counts[head] += 1
            others.update(name for answer in group.group.responses for name in answer.ratings)
        missing = [name for name, count in zip(names, counts, strict=True) if not count]
        if missing:
            raise DataError(
                f"no response is rated by {', '.join(missing)}; the ratings are: "
                f"{', '.join(sorted(others))}",
                where="data.train",
                mend="name only these in loss.attributes",
            )
        return tuple(
            Member(name, weight, total / count)
            for (name, weight), total, count in zip(
                self.config.attributes.items(), sums, counts, strict=True
            )
        )

    def _ratings(self, groups: Sequence[EncodedGroup]) -> Ratings:
        return Ratings.of(
            (offset + response, head, rating, weight)
            for offset, group in offsets_of(groups)
            for response, head, rating, weight in self._rated(group)
        )

    def _rated(self, group: EncodedGroup) -> Iterator[tuple[int, int, float, float]]:
        """Response, head, rating and weight of each rating of a group."""
        found = [
            (response, head, answer.ratings[name])
            for response, answer in enumerate(group.group.responses)
            for head, name in enumerate(self.config.attributes)
            if name in answer.ratings
        ]
        share = 1 / max(len(found), 1) if self.config.weight_by == "prompt" else 1.0
        for response, head, rating in found:
            yield response, head, rating, group.group.weight * share
