"""Which rows made a loss or gradient that is not finite.

In a pack one reward that is not finite spoils those beside it, so each group is computed once more,
alone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from assay.data.encoding import EncodedGroup
from assay.errors import DivergenceError
from assay.losses import Objective
from assay.model.rewards import rewards_of_sequences
from assay.train.strategy.single import Strategy

_NAMED = 8


def divergence(
    what: str,
    groups: Sequence[EncodedGroup],
    strategy: Strategy,
    objective: Objective,
    max_tokens: int,
) -> DivergenceError:
    """The error that names the rows; all of the batch where no group alone is to blame.

    Args:
        what: the loss, or the gradient.
        groups: of the batch or pack.
        strategy: where a pass is one of all processes, nothing more is computed.
        objective: of the run.
        max_tokens: of a pass.
    """

    def rewards_of(group: EncodedGroup, starts: Sequence[int] | None) -> Tensor:
        return rewards_of_sequences(
            strategy.model, group.sequences, max_tokens=max_tokens, starts=starts
        )

    def has_finite_rewards(group: EncodedGroup) -> bool:
        with torch.no_grad():
            rewards = rewards_of(group, objective.loss_of([group]).starts)
        return bool(torch.isfinite(rewards).all())

    def has_finite_gradient(group: EncodedGroup) -> bool:
        of_group = objective.loss_of([group])
        loss = of_group.sum_of(rewards_of(group, of_group.starts))
        trained = [p for p in strategy.model.parameters() if p.requires_grad]
        gradient = torch.autograd.grad(loss, trained, allow_unused=True)
        return all(bool(torch.isfinite(part).all()) for part in gradient if part is not None)

    checks: list[Callable[[EncodedGroup], bool]] = []
    if not strategy.in_lockstep:
        checks.append(has_finite_rewards)
    if strategy.team.size == 1:
        checks.append(has_finite_gradient)
    blamed: list[EncodedGroup] = []
    for is_finite in checks:
        blamed = blamed or [group for group in groups if not is_finite(group)]
    if len(blamed) in (0, len(groups)) and len(groups) > 1:
        place, rows = "in the batch of rows", [str(group.group.source) for group in groups]
    else:
        place, rows = "with the rows", _rows_of(blamed or groups)
    more = f" and {len(rows) - _NAMED} more" if len(rows) > _NAMED else ""
    return DivergenceError(
        f"{what} is not finite {place} {', '.join(rows[:_NAMED])}{more}",
        mend="lower train.learning_rate, or look at these rows; --resume auto goes on from the "
        "last checkpoint",
    )


def _rows_of(groups: Sequence[EncodedGroup]) -> list[str]:
    """The place of each row that was merged into some groups."""
    rows: dict[str, None] = {}
    for group in groups:
        places = [comparison.row or group.group.source for comparison in group.comparisons]
        rows |= dict.fromkeys(map(str, places or [group.group.source]))
    return list(rows)
