"""The objectives over comparisons: of responses, of tokens, and of an ensemble's members."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import torch
from torch import Tensor

from assay.data.encoding import EncodedGroup
from assay.errors import DataError
from assay.losses.bootstrap import bootstrap_count, comparison_id
from assay.losses.bradley_terry import bradley_terry, centring
from assay.losses.objective import GroupsLoss, Objective
from assay.losses.pairs import Pairs, comparison_weights, pairs_of
from assay.losses.ties import davidson, rao_kupper
from assay.losses.token_level import first_positions, token_pairs
from assay.model.heads import Member, ensemble_of

TIES: dict[str, Callable[..., Tensor]] = {"rao_kupper": rao_kupper, "davidson": davidson}
"""Models of ties by their name in a recipe; `half` is Bradley-Terry itself."""


class Comparisons(Objective):
    """Bradley-Terry, or a model of ties, of the last rewards. Units: weights of comparisons.

    With an ensemble each member has the loss of its own bootstrap sample, and the objective is
    their mean.
    """

    @property
    def num_members(self) -> int | None:
        """The ensemble's."""
        return self.config.ensemble if self.config.ensemble > 1 else None

    def units(self, group: EncodedGroup) -> float:
        """The sum of the weights of its comparisons, which a bootstrap sample keeps on average."""
        return sum(comparison_weights(group, self.config.weight_by))

    def loss_of(self, groups: Sequence[EncodedGroup]) -> GroupsLoss:
        """Of rewards [R], or of the members' [R, M]."""
        pairs = pairs_of(groups, self.config.weight_by)
        if self.num_members is None:
            return GroupsLoss(lambda reward_R: self._sum(reward_R, pairs))
        samples = self._samples(groups, pairs)

        def of_members(reward_RM: Tensor) -> Tensor:
            columns = zip(reward_RM.unbind(1), samples, strict=True)
            sums = [self._sum(reward_R, sample) for reward_R, sample in columns]
            return torch.stack(sums).mean()

        return GroupsLoss(of_members)

    def parts(
        self, rewards: Tensor, groups: Sequence[EncodedGroup]
    ) -> dict[str, tuple[float, float]]:
        """Of an ensemble the standard deviation of the members' gaps, mean over comparisons."""
        if self.num_members is None:
            return {}
        gap_CM = pairs_of(groups, self.config.weight_by).gaps(rewards)
        return {"gap_std": (float(gap_CM.std(1).sum()), float(len(gap_CM)))}

    def prepare(self, groups: Iterable[EncodedGroup]) -> tuple[Member, ...] | None:
        """Refuse a margin that no comparison has; members count alike."""
        if self.config.margin_scale and all(
            comparison.margin is None for group in groups for comparison in group.comparisons
        ):
            raise DataError(
                "loss.margin_scale is set, and no comparison has a margin",
                where="data.train",
                mend="leave loss.margin_scale out",
            )
        if self.num_members is None:
            return None
        return ensemble_of(self.num_members)

    def _sum(self, reward_R: Tensor, pairs: Pairs) -> Tensor:
        config = self.config
        if config.ties == "half":
            loss = bradley_terry(
                reward_R,
                pairs,
                margin_scale=config.margin_scale,
                label_smoothing=config.label_smoothing,
            )
        else:
            loss = TIES[config.ties](reward_R, pairs, tie_probability=config.tie_probability)
        if config.center_coefficient:
            loss = loss + config.center_coefficient * centring(reward_R, pairs)
        return loss

    def _samples(self, groups: Sequence[EncodedGroup], pairs: Pairs) -> list[Pairs]:
        names = [comparison_id(g, comparison) for g in groups for comparison in g.comparisons]
        return [
            pairs.weighted([bootstrap_count(self.seed, member, name) for name in names])
            for member in range(self.config.ensemble)
        ]


class TokenComparisons(Comparisons):
    """Bradley-Terry at every position from the first difference on: `token_level`.

    Units: weights of comparisons, whatever their number of positions.
    """

    @property
    def reads_tokens(self) -> bool:
        """It does."""
        return True

    def loss_of(self, groups: Sequence[EncodedGroup]) -> GroupsLoss:
        """Of rewards [L] of all tokens from where each sequence first differs from another."""
        starts = first_positions(groups)
        pairs = token_pairs(groups, starts, self.config.weight_by)
        return GroupsLoss(lambda reward_L: self._sum(reward_L, pairs), starts)
