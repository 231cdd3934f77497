"""Token-level Bradley-Terry: positions by hand, and equal results on every engine."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import pytest
import torch
from encoded import encoded
from torch import Tensor
from torch.nn import functional as F
from transformers import GPT2Config, GPT2LMHeadModel

from assay.config import LossConfig, ModelConfig
from assay.data.encoding import EncodedGroup
from assay.data.records import Comparison
from assay.data.rendering import TokenIds, common_prefix
from assay.losses import bradley_terry, first_positions, objective_of, pairs_of, token_pairs
from assay.model.engine import ENGINES, EngineName
from assay.model.loading import build_for_training
from assay.model.reward_model import RewardModel
from assay.model.rewards import rewards_of_sequences
from assay.train.split import backward_in_packs

TOKENS = LossConfig(kind="token_level")
BAR = 1e-10
"""Relative, in float64: engines differ in the order of sums alone."""

# Positions by hand


def test_positions_run_from_the_first_difference_to_the_longer_end() -> None:
    # 5 6 7 8 against 5 6 9: they part at position 2, the longer ends after 3. Position 2: 7
    # against 9; position 3: 8 against 9, which stands. Rewards from position 2 on: of the first
    # at 0, 1; of the second at 2. Each has half of the comparison's weight.
    group = encoded([[5, 6, 7, 8], [5, 6, 9]], [Comparison(0, 1, "b", weight=3.0)])
    starts = first_positions([group])
    assert starts == [2, 2]
    pairs = token_pairs([group], starts, "comparison")
    assert pairs.better_C.tolist() == [2, 2]
    assert pairs.worse_C.tolist() == [0, 1]
    assert pairs.weight_C.tolist() == [1.5, 1.5]


def test_the_loss_by_hand() -> None:
    # Rewards 1, 3 of the first, 2 of the second, which wins: gaps 2 - 1 = 1 and 2 - 3 = -1:
    # (0.31326169 + 1.31326169) / 2 = 0.81326169.
    group = encoded([[5, 6, 7, 8], [5, 6, 9]], [Comparison(0, 1, "b")])
    loss = objective_of(TOKENS, 0).loss_of([group]).sum_of
    rewards = torch.tensor([1.0, 3.0, 2.0], dtype=torch.float64)
    assert loss(rewards).item() == pytest.approx(0.8132616875182228, abs=1e-12)
    assert objective_of(TOKENS, 0).units(group) == 1.0


def test_a_response_that_another_continues_differs_at_its_own_length() -> None:
    # 5 6 against 5 6 7 8: they differ from position 2 on, where the shorter has its last reward.
    group = encoded([[5, 6], [5, 6, 7, 8]], [Comparison(1, 0, "a")])
    starts = first_positions([group])
    assert starts == [1, 2]
    pairs = token_pairs([group], starts, "comparison")
    assert pairs.better_C.tolist() == [1, 2]  # 7 and 8
    assert pairs.worse_C.tolist() == [0, 0]  # 6
    assert pairs.weight_C.tolist() == [0.5, 0.5]


def test_the_first_difference_is_each_comparison_s_own() -> None:
    # 1 2 3, 1 2 4, 1 5: the first two part at 2, both part from the third at 1.
    sequences = [[1, 2, 3], [1, 2, 4], [1, 5]]
    group = encoded(sequences, [Comparison(0, 1, "a"), Comparison(0, 2, "a")])
    starts = first_positions([group])
    assert starts == [1, 2, 1]
    pairs = token_pairs([group], starts, "prompt")
    # Rewards: 2 3 | 4 | 5. 3 against 4; then 2 and 3 against 5.
    assert pairs.better_C.tolist() == [1, 0, 1]
    assert pairs.worse_C.tolist() == [2, 3, 3]
    assert pairs.weight_C.tolist() == [0.5, 0.25, 0.25]


def test_groups_stand_one_after_another() -> None:
    first = encoded([[1, 2], [1, 3]], [Comparison(0, 1, "a")])
    second = encoded([[4, 5, 6], [4, 7]], [Comparison(1, 0, "tie")])
    starts = first_positions([first, second])
    pairs = token_pairs([first, second], starts, "comparison")
    assert pairs.better_C.tolist() == [0, 4, 4]
    assert pairs.worse_C.tolist() == [1, 2, 3]
    assert pairs.target_C.tolist() == [1.0, 0.5, 0.5]


def test_two_responses_of_one_token_are_bradley_terry() -> None:
    groups = [encoded([[1, 2], [1, 3]], [Comparison(0, 1, "a"), Comparison(0, 1, "tie")])]
    rewards = torch.tensor([0.4, -0.1], dtype=torch.float64)
    plain = bradley_terry(rewards, pairs_of(groups, "comparison"))
    torch.testing.assert_close(objective_of(TOKENS, 0).loss_of(groups).sum_of(rewards), plain)


# Through a model


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory, tiny_tokenizer: Any) -> RewardModel:
    """A GPT-2 in float64, whose norms and softmax are float64, too, so that only rounding is left.

    Weights are large enough that attention matters.
    """
    torch.manual_seed(0)
    config = GPT2Config(
        vocab_size=len(tiny_tokenizer), n_positions=64, n_embd=32, n_layer=2, n_head=4
    )
    directory = tmp_path_factory.mktemp("gpt2")
    GPT2LMHeadModel(config).save_pretrained(directory)
    tiny_tokenizer.save_pretrained(directory)
    built = build_for_training(
        ModelConfig(path=str(directory), dtype="float32"),
        None,
        seed=1,
        max_length=64,
        device="cpu",
        engine="padded",
    ).double()
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in built.parameters():
            noise = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
            parameter.add_(0.2 * noise)
    return built.eval()


def groups_by_hand() -> list[EncodedGroup]:
    """Two prompts; answers that part late, one that continues another, one sequence in both."""
    chance = random.Random(0)

    def tokens(count: int) -> TokenIds:
        return tuple(chance.randrange(3, 250) for _ in range(count))

    prompt, other = tokens(14), tokens(9)
    answer = prompt + tokens(6)
    first = [answer, answer + tokens(3), answer[:-2] + tokens(5), prompt + tokens(1)]
    second = [other + tokens(4), other + tokens(7), answer]
    return [
        encoded(
            first,
            [
                Comparison(0, 1, "a"),
                Comparison(2, 1, "tie", weight=2.0),
                Comparison(3, 0, "b"),
                Comparison(2, 3, "a"),
            ],
        ),
        encoded(second, [Comparison(0, 1, "b"), Comparison(2, 0, "a")], weight=0.5, line=2),
    ]


def loss_by_a_loop(model: RewardModel, groups: Sequence[EncodedGroup]) -> Tensor:
    """One sequence at a time by transformers' own backbone; positions, means and sums in Python."""
    total = torch.zeros((), dtype=torch.float64)
    for group in groups:
        rewards = []
        for ids in group.sequences:
            body = model.classifier.transformer
            hidden_LD = body(input_ids=torch.tensor([ids])).last_hidden_state[0]
            rewards.append(hidden_LD @ model.classifier.score.weight[0])
        for comparison in group.comparisons:
            a, b = rewards[comparison.a], rewards[comparison.b]
            start = common_prefix(group.sequences[comparison.a], group.sequences[comparison.b])
            terms = []
            for position in range(start, max(len(a), len(b))):
                gap = a[min(position, len(a) - 1)] - b[min(position, len(b) - 1)]
                won, lost = -F.logsigmoid(gap), -F.logsigmoid(-gap)
                terms.append({"a": won, "b": lost, "tie": (won + lost) / 2}[comparison.outcome])
            mean = torch.stack(terms).mean()
            total = total + group.group.weight * comparison.weight * mean
    return total


def gradient_of(model: RewardModel) -> Tensor:
    return torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None]).clone()


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("max_tokens", [10_000, 30, 1])
def test_every_engine_gives_the_loss_and_gradient_of_a_loop(
    model: RewardModel, engine: EngineName, max_tokens: int
) -> None:
    groups = groups_by_hand()
    model.use_engine("padded")
    model.zero_grad(set_to_none=True)
    expected = loss_by_a_loop(model, groups)
    expected.backward()  # type: ignore[no-untyped-call]
    wanted = gradient_of(model)
    model.use_engine(engine)
    model.zero_grad(set_to_none=True)
    objective = objective_of(TOKENS, 0)
    rewards = rewards_of_sequences(
        model,
        [ids for group in groups for ids in group.sequences],
        max_tokens=max_tokens,
        families=[0, 0, 0, 0, 1, 1, 1],
        starts=objective.loss_of(groups).starts,
    )
    loss = objective.loss_of(groups).sum_of(rewards)
    loss.backward()  # type: ignore[no-untyped-call]
    assert loss.item() == pytest.approx(expected.item(), rel=BAR)
    assert float((gradient_of(model) - wanted).norm() / wanted.norm()) < BAR


@pytest.mark.parametrize("engine", ENGINES)
def test_a_group_split_over_packs_gives_the_same(model: RewardModel, engine: EngineName) -> None:
    model.use_engine(engine)
    group = groups_by_hand()[0]
    objective = objective_of(TOKENS, 0)
    of_group = objective.loss_of([group])
    loss_of, starts = of_group.sum_of, of_group.starts
    sequences = list(group.sequences)
    found = []
    for max_tokens in (10_000, 24):
        model.zero_grad(set_to_none=True)
        if max_tokens == 24:
            packs = model.engine.cut(sequences, [0] * 4, max_tokens)
            assert len(packs) > 1
            rewards, loss = backward_in_packs(model, sequences, loss_of, max_tokens, starts=starts)
        else:
            rewards = rewards_of_sequences(
                model, sequences, max_tokens=max_tokens, families=[0] * 4, starts=starts
            )
            loss = loss_of(rewards)
            loss.backward()  # type: ignore[no-untyped-call]
        found.append((rewards.detach(), loss.detach(), gradient_of(model)))
    for whole, split in zip(*found, strict=True):
        torch.testing.assert_close(split, whole, rtol=BAR, atol=BAR)


@pytest.mark.parametrize("engine", ENGINES)
def test_the_last_reward_of_each_is_the_sequence_s(model: RewardModel, engine: EngineName) -> None:
    model.use_engine(engine)
    sequences = [ids for group in groups_by_hand() for ids in group.sequences]
    starts = [max(len(ids) - 1 - number, 0) for number, ids in enumerate(sequences)]
    with torch.no_grad():
        rewards = rewards_of_sequences(model, sequences, max_tokens=64, starts=starts)
        last = rewards_of_sequences(model, sequences, max_tokens=64)
    counts = torch.tensor([len(ids) - start for ids, start in zip(sequences, starts, strict=True)])
    assert len(rewards) == counts.sum()
    torch.testing.assert_close(rewards[counts.cumsum(0) - 1], last, rtol=BAR, atol=BAR)
