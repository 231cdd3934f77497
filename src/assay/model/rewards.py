"""Rewards of sequences: the one function behind training, evaluation, scoring and serving."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from assay.data.records import Source
from assay.data.rendering import Renderer, TokenIds, shared_prefix
from assay.errors import DataError, ModelError, ResourceError
from assay.model.prompt_keys import PromptKeys, why_not
from assay.model.rounding import shortest

if TYPE_CHECKING:
    from assay.model.reward_model import RewardModel


def rewards_of_sequences(
    model: RewardModel,
    sequences: Sequence[TokenIds],
    *,
    max_tokens: int,
    families: Sequence[int] | None = None,
    starts: Sequence[int] | None = None,
    prompts: PromptKeys | None = None,
) -> Tensor:
    """Raw rewards `reward_R` of R sequences, in their order, with their graph where grad is on.

    Equal sequences are computed once, so that they have equal rewards whatever stands beside
    them. A sequence longer than `max_tokens` is computed alone.

    Args:
        model: the reward model; its engine says how sequences become forward passes.
        sequences: token ids, none of them empty.
        max_tokens: tokens in one forward pass: of the tree, or with padding.
        families: a number for each sequence, equal for responses to one prompt: they share all
            they have in common. By default each sequence is a family of its own.
        starts: the first scored position of each sequence. Then there is a reward for each token
            from there on, sequence after sequence.
        prompts: remembers prompts from call to call; without gradients and `starts` only. Without
            it, prompts of families that need several passes are remembered during the call.

    Raises:
        DataError: a token has no row in the model's embedding.
        ResourceError: without gradients, out of memory for one sequence.
        RuntimeError: with gradients, out of memory; the caller knows what to do about it.
    """
    if not sequences:
        return torch.empty(0, device=model.device)
    first: dict[TokenIds, int] = {}
    for index, ids in enumerate(sequences):
        first.setdefault(ids, index)
    distinct = list(first)
    check_ids(distinct, model.num_ids, model.renderer)
    family = [index if families is None else families[index] for index in first.values()]
    begin = None if starts is None else first_starts(sequences, starts)
    place: dict[TokenIds, int] = {}
    rewards = []
    num_rewards = 0
    for chosen, keys in _passes(model, distinct, family, max_tokens, prompts, starts is not None):
        some = [distinct[i] for i in chosen]
        begins = None if begin is None else [begin[ids] for ids in some]
        rewards.append(_forward(model, some, [family[i] for i in chosen], begins, keys))
        for ids in some:
            place[ids] = num_rewards
            num_rewards += 1 if begin is None else len(ids) - begin[ids]
    reward_U = torch.cat(rewards)
    rows = reward_rows(sequences, starts, place, begin)
    return reward_U[torch.tensor(rows, device=reward_U.device)]


def reward_rows(
    sequences: Sequence[TokenIds],
    starts: Sequence[int] | None,
    place: Mapping[TokenIds, int],
    begin: Mapping[TokenIds, int] | None,
) -> list[int]:
    """Where the rewards of sequences stand among those of the distinct ones.

    Args:
        sequences: those that are wanted.
        starts: their first scored positions, or None for the last token.
        place: of each distinct sequence the row of its first reward.
        begin: of each distinct sequence the position of its first reward; None without `starts`.
    """
    if starts is None or begin is None:
        return [place[ids] for ids in sequences]
    return [
        place[ids] - begin[ids] + position
        for ids, start in zip(sequences, starts, strict=True)
        for position in range(start, len(ids))
    ]


def first_starts(sequences: Sequence[TokenIds], starts: Sequence[int]) -> dict[TokenIds, int]:
    """The least start of each distinct sequence, in the order of first appearance."""
    found: dict[TokenIds, int] = {}
    for ids, start in zip(sequences, starts, strict=True):
        found[ids] = min(start, found.get(ids, start))
    return found


def score_sequences(
    model: RewardModel,
    sequences: Sequence[TokenIds],
    *,
    families: Sequence[int] | None = None,
    max_tokens: int | None = None,
    prompts: PromptKeys | None = None,
) -> list[float]:
    """Raw float32 rewards of sequences without gradients, in their order.

    `rewards_of_sequences` says what the arguments mean.

    Raises:
        DataError: a sequence is empty, longer than the model has positions for, or holds a token
            that its embedding has no row for.
        ModelError: a reward is not finite.
        ResourceError: out of memory.
    """
    if not sequences:
        return []
    scored = scored_sequences(
        model, sequences, families=families, max_tokens=max_tokens, prompts=prompts
    )
    return shortest_floats(scored)


@torch.inference_mode()
def scored_sequences(
    model: RewardModel,
    sequences: Sequence[TokenIds],
    *,
    families: Sequence[int] | None = None,
    max_tokens: int | None = None,
    prompts: PromptKeys | None = None,
) -> Tensor:
    """What the model's passes give of sequences, at least one, as `score_sequences` does."""
    _check_lengths(model, sequences)
    budget = max_tokens or inference_budget(model.device)
    was_training = model.training
    model.eval()
    try:
        rewards = rewards_of_sequences(
            model, sequences, max_tokens=budget, families=families, prompts=prompts
        )
    finally:
        model.train(was_training)
    if not bool(torch.isfinite(rewards).all()):
        # Compared, nan would be neither win, tie nor loss; written, it is not JSON.
        raise ModelError(
            "gives a reward that is not finite",
            mend="score with --dtype float32; if that does not help, its weights are damaged",
        )
    return rewards


def _check_lengths(model: RewardModel, sequences: Sequence[TokenIds]) -> None:
    longest = max(map(len, sequences))
    if longest > model.max_length:
        raise DataError(
            f"a sequence of {longest} tokens is longer than the model's context of "
            f"{model.max_length}",
            mend="shorten it",
        )
    if min(map(len, sequences)) == 0:
        raise DataError("an empty text has no token to score", mend="give it a prompt or an answer")


def check_ids(
    sequences: Sequence[TokenIds], num_ids: int, renderer: Renderer, where: Source | None = None
) -> None:
    """Refuse a token that the model's embedding has no row for.

    Args:
        sequences: at least one, none of them empty.
        num_ids: rows of the embedding.
        renderer: knows the token's name.
        where: the sequences come from.

    Raises:
        DataError: names the token.
    """
    if (largest := max(map(max, sequences))) >= num_ids:
        raise DataError(
            f"{renderer.tokenizer.convert_ids_to_tokens(largest)!r} is token {largest} of the "
            f"tokenizer, and the model's embedding has {num_ids} rows",
            where=where,
            mend="give the model a row for each token before it is trained: "
            "model.resize_token_embeddings(len(tokenizer))",
        )


def shortest_floats(value_N: Tensor) -> list[float]:
    """The numbers with the fewest digits that are these float32 and no other."""
    return [shortest(value) for value in value_N.float().tolist()]


def inference_budget(device: torch.device) -> int:
    """Tokens in one forward pass without gradients: larger ones gain nothing on a CPU."""
    return 2560 if device.type == "cpu" else 16384


def is_out_of_memory(error: Exception) -> bool:
    """Whether a device, or the CPU's allocator, ran out of memory."""
    return isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error)


def passes_of(
    model: RewardModel,
    sequences: Sequence[TokenIds],
    families: Sequence[int],
    max_tokens: int,
    prompts: PromptKeys | None = None,
) -> Iterator[list[int]]:
    """Indices of the sequences of each forward pass; what `prompts` knows costs nothing.

    Where rotary embeddings choose their frequencies by the longest sequence of a pass, long ones
    do not stand beside those that are read with the frequencies of short ones.
    """
    bound = model.short_length
    for is_long in (False, True):
        part = [i for i, ids in enumerate(sequences) if (len(ids) > bound) == is_long]
        cut = model.engine.cut if prompts is None or is_long else prompts.cut
        packs = cut([sequences[i] for i in part], [families[i] for i in part], max_tokens)
        for chosen in packs:
            yield [part[i] for i in chosen]


def _passes(
    model: RewardModel,
    sequences: Sequence[TokenIds],
    families: Sequence[int],
    max_tokens: int,
    prompts: PromptKeys | None,
    every_token: bool,
) -> Iterator[tuple[list[int], PromptKeys | None]]:
    """The passes, and what remembers the prompts of each."""
    if torch.is_grad_enabled() or every_token or why_not(model) is not None:
        for chosen in passes_of(model, sequences, families, max_tokens):
            yield chosen, None
        return
    keys = PromptKeys() if prompts is None else prompts
    passes = list(passes_of(model, sequences, families, max_tokens, keys))
    count = Counter(family for chosen in passes for family in {families[i] for i in chosen})
    for family in (family for family in count if count[family] > 1):
        members = [ids for ids, of in zip(sequences, families, strict=True) if of == family]
        keys.expect(members[0][: shared_prefix(members)])
    for chosen in passes:
        some, of = [sequences[i] for i in chosen], [families[i] for i in chosen]
        is_long = len(some[0]) > model.short_length
        is_split = any(count[family] > 1 for family in of)
        if is_long or (prompts is None and not is_split):
            yield chosen, None
        elif is_split and not any(map(keys.known, some)):
            # The first of a family; or its prompt is too large to be kept.
            for again in model.engine.cut(some, of, max_tokens):
                yield [chosen[i] for i in again], keys
        else:
            yield chosen, keys


def _forward(
    model: RewardModel,
    sequences: Sequence[TokenIds],
    families: Sequence[int],
    starts: Sequence[int] | None = None,
    prompts: PromptKeys | None = None,
) -> Tensor:
    try:
        if prompts is not None:
            return _forward_from_known(model, sequences, families, prompts)
        batch = model.engine.batch(sequences, families, model.pad_id, model.device, starts)
        reward_N: Tensor = model(batch)
    except RuntimeError as error:
        if torch.is_grad_enabled() or not is_out_of_memory(error):
            raise
        if len(sequences) == 1:
            raise ResourceError(
                f"out of memory in a batch of one sequence, {len(sequences[0])} tokens",
                mend=f"set max_length below {len(sequences[0])}, or use a smaller model or dtype",
            ) from None
    else:
        return reward_N
    # Without gradients nothing is kept: two halves do what one batch could not.
    half = len(sequences) // 2
    return torch.cat(
        [
            _forward(
                model,
                sequences[part],
                families[part],
                None if starts is None else starts[part],
                prompts,
            )
            for part in (slice(None, half), slice(half, None))
        ]
    )


def _forward_from_known(
    model: RewardModel,
    sequences: Sequence[TokenIds],
    families: Sequence[int],
    prompts: PromptKeys,
) -> Tensor:
    planned = prompts.plan(sequences, families, model.device)
    reward_N: Tensor = model(planned.pack)
    if bool(torch.isfinite(reward_N).all()):
        prompts.remember(planned)
    return reward_N
