"""Gradients of a group that is larger than a pack.

Its loss needs the rewards of all its packs, and no single backward pass can hold their graphs.
So the rewards are computed without gradients first; the loss gives its derivative with respect to
each; then every pack is computed again and sends its derivatives back. By the chain rule this is
the gradient of any loss of the rewards, exactly, for one more forward pass.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from assay.data.rendering import TokenIds
from assay.model.reward_model import RewardModel
from assay.model.rewards import first_starts, passes_of, reward_rows, rewards_of_sequences
from assay.train.random_state import random_state, restore_random


def backward_in_packs(
    model: RewardModel,
    sequences: Sequence[TokenIds],
    loss_of: Callable[[Tensor], Tensor],
    max_tokens: int,
    backward: Callable[[Tensor], None] = Tensor.backward,
    *,
    starts: Sequence[int] | None = None,
) -> tuple[Tensor, Tensor]:
    """Add the gradient of a loss to the parameters, one pack in memory at a time.

    The second pass of a pack draws the random numbers of its first, for dropout of adapters.

    Args:
        model: the reward model.
        sequences: of one group.
        loss_of: a scalar from their rewards.
        max_tokens: tokens of a pack.
        backward: adds the gradient of a scalar.
        starts: as in `rewards_of_sequences`.

    Returns:
        The rewards, as `rewards_of_sequences` gives them, and the loss, detached.
    """
    begin = None if starts is None else first_starts(sequences, starts)
    distinct = list(dict.fromkeys(sequences))
    spans = _spans(distinct, begin)
    place = {ids: span.start for ids, span in zip(distinct, spans, strict=True)}
    place_R = torch.tensor(reward_rows(sequences, starts, place, begin), device=model.device)

    def rewards_of(chosen: Sequence[int]) -> Tensor:
        some = [distinct[index] for index in chosen]
        return rewards_of_sequences(
            model,
            some,
            max_tokens=max_tokens,
            families=[0] * len(some),
            starts=None if begin is None else [begin[ids] for ids in some],
        )

    packs = list(passes_of(model, distinct, [0] * len(distinct), max_tokens))
    rows = [
        torch.tensor([row for index in chosen for row in spans[index]], device=model.device)
        for chosen in packs
    ]
    rewards, states = [], []
    for chosen in packs:
        states.append(random_state(model.device))
        with torch.no_grad():
            rewards.append(rewards_of(chosen))
    reward_U = torch.empty_like(torch.cat(rewards))
    reward_U[torch.cat(rows)] = torch.cat(rewards)
    with torch.enable_grad():
        leaf_U = reward_U.requires_grad_()
        loss = loss_of(leaf_U[place_R])
        (slope_U,) = torch.autograd.grad(loss, leaf_U)
    after = random_state(model.device)
    for chosen, row, state in zip(packs, rows, states, strict=True):
        restore_random(state, model.device)
        backward((rewards_of(chosen) * slope_U[row]).sum())
    restore_random(after, model.device)
    return leaf_U.detach()[place_R], loss.detach()


def _spans(sequences: Sequence[TokenIds], begin: dict[TokenIds, int] | None) -> list[range]:
    """The rows of each sequence's rewards: one, or one for each token from its beginning on."""
    spans, row = [], 0
    for ids in sequences:
        count = 1 if begin is None else len(ids) - begin[ids]
        spans.append(range(row, row + count))
        row += count
    return spans
