"""Giving a model members behind its head, and keeping the head their mean."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from assay.data.rendering import TokenIds
from assay.errors import ConfigError
from assay.model.head import drawn_rows
from assay.model.heads import Heads, Member
from assay.model.prompt_keys import PromptKeys
from assay.model.reward_model import RewardModel, giving
from assay.model.rewards import score_sequences, scored_sequences, shortest_floats
from assay.model.vllm.either import ScoringModel
from assay.model.vllm.model import VllmModel
from assay.notices import notice


@torch.no_grad()
def give_members(
    model: RewardModel, members: Sequence[Member], *, seed: int, directory: Path | None = None
) -> None:
    """Put heads behind the model's head, which from now on is their mean and not trained itself.

    Rows come from the model's own directory, where it has members of these names; else they are
    drawn from the seed, where the head was; else each is the head that was kept, so that the reward
    is what it was.

    Args:
        model: a model with one row as its head.
        members: names, weights and offsets.
        seed: of the rows.
        directory: of the model that training starts from.

    Raises:
        ConfigError: the model's head is of another kind.
        ModelError: the members in the directory cannot be read.
    """
    row_1D = model.head_weight
    if row_1D is None:
        raise ConfigError(
            f"{type(model.classifier).__name__} has a head of its own kind, and several heads "
            "stand in the place of one row",
            where="loss",
            mend="take loss.kind bradley_terry without an ensemble, or a decoder",
        )
    known = Heads.read(directory) if directory is not None and not model.fresh_head else None
    names = [member.name for member in members]
    if known is not None and known.names != names:
        notice(
            f"the heads beside the model are others ({', '.join(known.names)}): {', '.join(names)} "
            "begin with the row of its reward"
        )
    if known is not None and known.names == names:
        notice(f"keeping the heads that stand beside the model: {', '.join(names)}")
        rows_MD = known.weight_MD.detach()
    elif model.fresh_head:
        rows_MD = drawn_rows(len(members), row_1D.shape[1], seed)
    else:
        rows_MD = row_1D.detach().expand(len(members), -1).cpu()
    wide = torch.promote_types(row_1D.dtype, torch.float32)
    row_1D.data = row_1D.data.to(wide)
    row_1D.requires_grad_(False)
    model.heads = Heads(members, rows_MD.to(row_1D.device, wide, copy=True))
    model.heads.in_training = True


@torch.no_grad()
def keep_mean(model: RewardModel) -> None:
    """Make the model's head the mean of its members, before it is saved."""
    if model.heads is not None and model.heads.in_training and model.head_weight is not None:
        model.head_weight.copy_(model.heads.mean_row()[None])


def member_values(
    model: RewardModel, sequences: Sequence[TokenIds], *, families: Sequence[int] | None = None
) -> Tensor:
    """Values [R, M] of a model's members, offsets included, without gradients.

    Raises:
        ConfigError: the model has no members.
        DataError: a sequence is empty, or longer than the model has positions for.
        ModelError: a value is not finite.
        ResourceError: out of memory.
    """
    if model.heads is None:
        raise ConfigError(
            "the model has one head", mend="train it with loss.ensemble or loss.attributes"
        )
    if not sequences:
        return torch.empty(0, len(model.heads.members))
    with giving(model, "members"):
        return scored_sequences(model, sequences, families=families)


@dataclass(frozen=True, slots=True)
class Scores:
    """Raw rewards of R sequences, and what the members behind the head say of them.

    Attributes:
        rewards: the same to the bit with members and without.
        uncertainty: of an ensemble the standard deviation over its M members (over M - 1) of the
            value that each gives; None of others.
        components: of heads of attributes the value of each by its name, offsets included: the
            rating that it expects; None of others.
        members: of an ensemble the value of each member by its name; None of others.
    """

    rewards: list[float]
    uncertainty: list[float] | None = None
    components: list[dict[str, float]] | None = None
    members: list[dict[str, float]] | None = None


def score_with_members(
    model: ScoringModel,
    sequences: Sequence[TokenIds],
    *,
    families: Sequence[int] | None = None,
    prompts: PromptKeys | None = None,
) -> Scores:
    """`score_sequences`, and in the same passes what the model's members say.

    Raises:
        As `score_sequences`, or `VllmModel.rewards`.
    """
    if isinstance(model, VllmModel):
        return Scores(model.rewards(sequences))
    heads = model.heads
    if heads is None or not sequences:
        return Scores(score_sequences(model, sequences, families=families, prompts=prompts))
    with giving(model, "both"):
        found = scored_sequences(model, sequences, families=families, prompts=prompts)
    reward_R, *value_MR = found.unbind(1)
    rewards = shortest_floats(reward_R)
    columns = map(shortest_floats, value_MR)
    values = [dict(zip(heads.names, row, strict=True)) for row in zip(*columns, strict=True)]
    if heads.is_ensemble:
        spread_R = torch.stack(value_MR).double().std(0)
        return Scores(rewards, uncertainty=shortest_floats(spread_R), members=values)
    return Scores(rewards, components=values)
