"""One optimizer step: packs forward and backward, clip, update."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import LRScheduler

from assay.config import Recipe
from assay.data.encoding import EncodedGroup
from assay.errors import DataError, DivergenceError, ResourceError
from assay.losses import LOSSES, Pairs
from assay.model.reward_model import RewardModel
from assay.model.rewards import is_out_of_memory, rewards_of_sequences
from assay.train.split import backward_in_packs


@dataclass(slots=True)
class StepResult:
    """What one step measured. `loss` is the weighted mean over the step's comparisons.

    `engine` computed it. `num_tokens` counts each sequence in full, `num_computed_tokens` what went
    through the layers: shared prefixes once, padding included. `num_split_groups` were larger than
    a pack, which holds `max_tokens`. `peak_bytes` is the most memory that the process has held so
    far.
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
    num_split_groups: int = 0
    reward_sum: float = 0.0
    seconds: float = 0.0
    max_tokens: int = 0
    engine: str = ""
    peak_bytes: int = 0
    rewards: list[float] = field(default_factory=list)

    @property
    def share_saved(self) -> float:
        """Part of the tokens that need not be computed; below 0 where padding costs more."""
        return 1 - self.num_computed_tokens / self.num_tokens

    @property
    def pack_fill(self) -> float:
        """Computed tokens by the room of the packs."""
        return self.num_computed_tokens / (self.num_packs * self.max_tokens)


def train_step(
    model: RewardModel,
    groups: Sequence[EncodedGroup],
    optimizer: torch.optim.Optimizer,
    schedule: LRScheduler,
    recipe: Recipe,
    max_tokens: int,
) -> StepResult:
    """Update the model once on a batch of groups.

    The loss is the weighted mean over the batch's comparisons; how the batch is cut into packs
    does not change it (but draws other dropout, where an adapter has any).

    Raises:
        DivergenceError: loss or gradient is not finite; names the rows.
        ResourceError: out of memory; names the batch.
    """
    started = time.perf_counter()
    result = StepResult(
        learning_rate=float(schedule.get_last_lr()[0]),
        max_tokens=max_tokens,
        engine=model.engine.name,
    )
    units = sum(w for group in groups for w in comparison_weights(group, recipe.loss.weight_by))
    if units <= 0:
        raise DataError(
            "all comparisons of a batch have weight 0",
            where=groups[0].group.source,
            mend="remove rows without weight",
        )
    optimizer.zero_grad(set_to_none=True)
    for chosen in model.engine.pack([group.sequences for group in groups], max_tokens):
        _pass(model, [groups[index] for index in chosen], units, recipe, max_tokens, result)
    parameters = [p for p in model.parameters() if p.requires_grad]
    norm = clip_gradient(parameters, recipe.train.max_grad_norm)
    result.grad_norm = float(norm)
    if not torch.isfinite(norm):
        raise _divergence("the gradient", groups)
    try:
        optimizer.step()
    except RuntimeError as error:
        if not is_out_of_memory(error):
            raise
        raise ResourceError(
            "out of memory in the optimizer's update", mend="train with lora, or a smaller model"
        ) from None
    schedule.step()
    result.seconds = time.perf_counter() - started
    return result


def clip_gradient(parameters: Sequence[nn.Parameter], max_norm: float) -> Tensor:
    """Scale the gradient down to a norm, and return the norm that it had.

    The numbers of `torch.nn.utils.clip_grad_norm_`, which multiplies by 1 where nothing is to be
    clipped: a pass over all gradients.
    """
    norm = nn.utils.get_total_norm([p.grad for p in parameters if p.grad is not None])
    if norm + 1e-6 > max_norm:
        nn.utils.clip_grads_with_norm_(parameters, max_norm, norm)
    return norm


def comparison_weights(group: EncodedGroup, weight_by: str) -> list[float]:
    """Weight of each comparison: its own and its group's; by prompt, over their number."""
    share = 1 / len(group.comparisons) if weight_by == "prompt" else 1.0
    return [group.group.weight * comparison.weight * share for comparison in group.comparisons]


def _pass(
    model: RewardModel,
    groups: Sequence[EncodedGroup],
    units: float,
    recipe: Recipe,
    max_tokens: int,
    result: StepResult,
) -> None:
    cost = sum(model.engine.cost(group.sequences) for group in groups)
    sequences = [ids for group in groups for ids in group.sequences]
    families = [number for number, group in enumerate(groups) for _ in group.sequences]
    pairs = pairs_of(groups, recipe.loss.weight_by)

    def loss_of(reward_R: Tensor) -> Tensor:
        loss = LOSSES[recipe.loss.kind](reward_R, pairs) / units
        if not torch.isfinite(loss):
            raise _divergence("the loss", groups)
        return loss

    before = replace(model.computed)
    try:
        if len(groups) == 1 and cost > max_tokens:
            reward_R, loss = backward_in_packs(model, sequences, loss_of, max_tokens)
            result.num_split_groups += 1
        else:
            reward_R = rewards_of_sequences(
                model, sequences, max_tokens=max_tokens, families=families
            )
            loss = loss_of(reward_R)
            loss.backward()  # type: ignore[no-untyped-call]
    except RuntimeError as error:
        if not is_out_of_memory(error):
            raise
        raise _shortage(groups, cost, max_tokens, recipe.train.max_length) from None
    result.num_computed_tokens += model.computed.tokens - before.tokens
    result.num_packs += model.computed.passes - before.passes
    _count(result, reward_R.detach(), pairs, sequences)
    result.loss += loss.item()


def pairs_of(groups: Sequence[EncodedGroup], weight_by: str) -> Pairs:
    """Comparisons of groups over their concatenated sequences."""
    items = []
    offset = 0
    for group in groups:
        weights = comparison_weights(group, weight_by)
        items += [
            (offset, comparison, weight)
            for comparison, weight in zip(group.comparisons, weights, strict=True)
        ]
        offset += len(group.sequences)
    return Pairs.of(items)


def _count(
    result: StepResult, reward_R: Tensor, pairs: Pairs, sequences: Sequence[Sequence[int]]
) -> None:
    decided = pairs.target_C == 1.0
    gap_C = (reward_R[pairs.better_C] - reward_R[pairs.worse_C]).cpu()
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


def _divergence(what: str, groups: Sequence[EncodedGroup]) -> DivergenceError:
    rows = [str(group.group.source) for group in groups]
    more = f" and {len(rows) - 8} more" if len(rows) > 8 else ""
    return DivergenceError(
        f"{what} is not finite in the batch of rows {', '.join(rows[:8])}{more}",
        mend="lower train.learning_rate, or look at these rows",
    )
