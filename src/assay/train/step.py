"""One optimizer step: packs forward and backward, clip, update."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace
from functools import partial

import torch
from torch import Tensor
from torch.optim.lr_scheduler import LRScheduler

from assay.config import Recipe
from assay.data.encoding import EncodedGroup
from assay.data.rendering import TokenIds
from assay.errors import ResourceError
from assay.losses import Objective, Pairs, objective_of, pairs_of
from assay.model.lanes import side_by_side
from assay.model.reward_model import Gives, RewardModel, giving
from assay.model.rewards import is_out_of_memory, passes_of, rewards_of_sequences
from assay.notices import warn
from assay.train.divergence import divergence
from assay.train.embedding_rows import numbered
from assay.train.rounds import Round, rounds_of, summed_apart
from assay.train.split import backward_in_packs
from assay.train.strategy.single import Strategy

_NO_SUMS = {"grad_norm", "learning_rate", "seconds", "engine", "peak_bytes", "parts"}
"""What a step does not add up of its packs."""


@dataclass(slots=True)
class StepResult:
    """What one step measured. `loss` is the weighted mean over the step's units (comparisons).

    `engine` computed it. `num_tokens` counts each sequence in full, `num_computed_tokens` what went
    through the layers: shared prefixes once, padding included; `room` is what the packs could have
    held. `num_split_groups` were larger than a pack. `peak_bytes` is the most memory that the
    process has held so far. `parts` are further numbers of the loss by name, each a sum and what it
    is divided by.
    """

    loss: float = 0.0
    grad_norm: float = 0.0
    learning_rate: float = 0.0
    wins: int = 0
    num_comparisons: int = 0
    num_sequences: int = 0
    num_tokens: int = 0
    num_computed_tokens: int = 0
    num_packs: int = 0
    room: int = 0
    num_split_groups: int = 0
    reward_sum: float = 0.0
    seconds: float = 0.0
    engine: str = ""
    peak_bytes: int = 0
    rewards: list[float] = field(default_factory=list)
    parts: dict[str, tuple[float, float]] = field(default_factory=dict)

    def add(self, part: StepResult) -> None:
        """Count in what a pack, computed here or elsewhere, has measured."""
        for name in {each.name for each in fields(self)} - _NO_SUMS:
            setattr(self, name, getattr(self, name) + getattr(part, name))
        for name, (total, units) in part.parts.items():
            before_total, before_units = self.parts.get(name, (0.0, 0.0))
            self.parts[name] = (before_total + total, before_units + units)

    @property
    def share_saved(self) -> float:
        """Part of the tokens that need not be computed; below 0 where padding costs more."""
        return 1 - self.num_computed_tokens / self.num_tokens

    @property
    def pack_fill(self) -> float:
        """Computed tokens by the room of the packs."""
        return self.num_computed_tokens / self.room


@dataclass(frozen=True, slots=True)
class _Step:
    """What the passes of a step have in common."""

    strategy: Strategy
    groups: Sequence[EncodedGroup]
    objective: Objective
    units: float
    recipe: Recipe
    max_tokens: int


def train_step(
    strategy: Strategy,
    groups: Sequence[EncodedGroup],
    schedule: LRScheduler,
    recipe: Recipe,
    max_tokens: int,
) -> StepResult:
    """Update the model once on a batch of groups.

    The loss is the weighted mean over the batch's comparisons (rankings, ratings); how the batch is
    cut into packs does not change it (but draws other dropout, where an adapter has any), nor does
    over how many processes the packs are dealt.

    Raises:
        DivergenceError: loss or gradient is not finite; names the rows.
        ResourceError: out of memory; names the batch.
    """
    started = time.perf_counter()
    model = strategy.model
    result = StepResult(
        learning_rate=float(schedule.get_last_lr()[0]),
        engine=model.engine.name,
    )
    objective = objective_of(recipe.loss, recipe.train.seed)
    units = sum(objective.units(group) for group in groups)
    if units <= 0:
        source = groups[0].group.source
        warn(
            f"all {objective.unit_name} of the batch with {source} have no weight: nothing to learn"
        )
        units = 1.0  # The sum is 0.
    strategy.zero_grad()
    rounds = rounds_of(strategy, groups, max_tokens)
    step = _Step(strategy, groups, objective, units, recipe, max_tokens)
    gives: Gives = "rewards" if objective.num_members is None else "members"
    with giving(model, gives):
        parts = {number: _round(step, rounds[number]) for number in strategy.own(len(rounds))}
        strategy.finish(gradients=True)
    for part in strategy.gather(parts):
        result.add(part)
    try:
        norm = strategy.clip(recipe.train.max_grad_norm)
        result.grad_norm = float(norm)
        if not torch.isfinite(norm):
            with giving(model, gives):
                raise divergence("the gradient", groups, strategy, objective, max_tokens)
        strategy.step()
    except RuntimeError as error:
        if not is_out_of_memory(error):
            raise
        raise ResourceError(
            "out of memory in the optimizer's update", mend="train with lora, or a smaller model"
        ) from None
    schedule.step()
    result.seconds = time.perf_counter() - started
    return result


def _round(step: _Step, packs: Round) -> StepResult:
    model, result = step.strategy.model, StepResult()
    before = replace(model.computed)

    def made(number: int) -> StepResult:
        some = [step.groups[index] for index in packs[number]]
        with numbered(number):
            return _pass(step, some, len(packs))

    with step.strategy.gathering():
        if len(packs) == 1:
            result.add(made(0))
        else:
            with summed_apart(model):
                for part in side_by_side([partial(made, n) for n in range(len(packs))]):
                    result.add(part)
    result.num_computed_tokens = model.computed.tokens - before.tokens
    result.num_packs = model.computed.passes - before.passes
    result.room = result.num_packs * step.max_tokens // len(packs)
    return result


def _pass(step: _Step, groups: Sequence[EncodedGroup], at_once: int) -> StepResult:
    strategy, objective, max_tokens = step.strategy, step.objective, step.max_tokens
    model, result = strategy.model, StepResult()
    cost = sum(model.engine.cost(group.sequences) for group in groups)
    sequences = [ids for group in groups for ids in group.sequences]
    families = [number for number, group in enumerate(groups) for _ in group.sequences]
    of_groups = objective.loss_of(groups)
    starts = of_groups.starts

    def loss_of(rewards: Tensor) -> Tensor:
        loss = of_groups.sum_of(rewards) / step.units
        if not torch.isfinite(loss):
            raise divergence("the loss", groups, strategy, objective, max_tokens)
        return loss

    try:
        too_large = len(groups) == 1 and cost > max_tokens
        if too_large or (
            strategy.in_lockstep and _takes_passes(model, sequences, families, max_tokens)
        ):
            rewards, loss = backward_in_packs(
                model, sequences, loss_of, max_tokens, strategy.backward, starts=starts
            )
            result.num_split_groups += too_large
        else:
            rewards = rewards_of_sequences(
                model,
                sequences,
                max_tokens=max_tokens,
                families=families,
                starts=starts,
            )
            loss = loss_of(rewards)
            strategy.backward(loss)
    except RuntimeError as error:
        if not is_out_of_memory(error):
            raise
        raise _shortage(groups, cost * at_once, max_tokens, step.recipe.train.max_length) from None
    rewards = rewards.detach()
    reward_R = _last_rewards(model, rewards, sequences, starts)
    _count(result, reward_R, pairs_of(groups, step.recipe.loss.weight_by), sequences)
    result.parts = objective.parts(rewards, groups)
    result.loss = loss.item()
    return result


def _takes_passes(
    model: RewardModel, sequences: Sequence[TokenIds], families: Sequence[int], max_tokens: int
) -> bool:
    """Whether a pack takes several forward passes; each then needs a backward pass of its own."""
    family: dict[TokenIds, int] = {}
    for ids, number in zip(sequences, families, strict=True):
        family.setdefault(ids, number)
    return len(list(passes_of(model, list(family), list(family.values()), max_tokens))) > 1


def _last_rewards(
    model: RewardModel,
    rewards: Tensor,
    sequences: Sequence[Sequence[int]],
    starts: Sequence[int] | None,
) -> Tensor:
    """The reward of each sequence, from whatever the loss has read of it."""
    if model.heads is not None and rewards.ndim == 2:
        return model.heads.rewards(rewards) + model.metadata.reward_offset
    if starts is None:
        return rewards
    counts = [len(ids) - start for ids, start in zip(sequences, starts, strict=True)]
    return rewards[torch.tensor(counts, device=rewards.device).cumsum(0) - 1]


def _count(
    result: StepResult, reward_R: Tensor, pairs: Pairs, sequences: Sequence[Sequence[int]]
) -> None:
    decided = pairs.target_C == 1.0
    gap_C = pairs.gaps(reward_R).cpu()
    result.wins += int(((gap_C > 0) & decided).sum())
    result.num_comparisons += int(decided.sum())
    result.num_sequences += len(sequences)
    result.num_tokens += sum(map(len, sequences))
    result.reward_sum += float(reward_R.sum())
    result.rewards += [float(reward) for reward in reward_R]


def _shortage(
    groups: Sequence[EncodedGroup], cost: int, max_tokens: int, max_length: int
) -> ResourceError:
    tokens = min(cost, max_tokens)
    smaller = max(max_length, tokens // 2)
    if smaller < tokens:
        mend = f"set train.max_tokens_per_pack to {smaller}"
    else:
        mend = "lower train.max_length, or set train.gradient_checkpointing: true"
    rows = f"{len(groups)} groups" if len(groups) > 1 else f"the group of {groups[0].group.source}"
    return ResourceError(f"out of memory in a pack of {rows}, {tokens} tokens", mend=mend)
