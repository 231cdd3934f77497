"""A group that is larger than a pack: the same rewards, loss, gradients and updates as in one.

In float64, with weights large enough that attention matters. Transformers' norms compute in
float32 all the same: an error of some 1e-7 (norm-wise, |a - b| / |b|), hence 1e-6.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import torch
from tiny_runs import recipe
from torch import Tensor

from assay.config import LoraConfig, ModelConfig
from assay.data.encoding import EncodedGroup
from assay.data.records import Comparison, Group, Message, Response, Source
from assay.data.rendering import TokenIds
from assay.losses import Pairs, bradley_terry
from assay.model.engine import ENGINES, EngineName
from assay.model.loading import build_for_training, load_reward_model
from assay.model.reward_model import RewardModel
from assay.model.rewards import rewards_of_sequences
from assay.train.split import backward_in_packs
from assay.train.step import StepResult, train_step
from assay.train.strategy.single import Single

SAME = 1e-6
FLOOR = 1e-3
"""Least norm of a parameter's gradient that counts, as a part of the whole gradient's."""
every_engine = pytest.mark.parametrize("engine", ENGINES)


def enlarged(model: RewardModel) -> RewardModel:
    """With noise on all trained weights: adapters begin at zero, tiny models near it."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                noise = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
                parameter.add_(0.2 * noise.to(parameter.dtype))
    return model


@pytest.fixture(scope="module")
def model(tiny_reward: Path) -> RewardModel:
    return enlarged(load_reward_model(str(tiny_reward), dtype="float64", engine="padded"))


def tokens(chance: random.Random, count: int) -> TokenIds:
    return tuple(chance.randrange(3, 250) for _ in range(count))


def nine() -> list[TokenIds]:
    """Nine responses to a prompt of 14 tokens: one a prefix of another, two the same."""
    chance = random.Random(0)
    prompt = tokens(chance, 14)
    found = [prompt + tokens(chance, count) for count in (5, 1, 9, 3, 12, 7, 2)]
    return [*found, (*found[4], 7, 8), found[2]]


def every_pair(reward_R: Tensor) -> Tensor:
    """Won by either side or tied: no two rewards have the same slope."""
    count, outcomes = len(reward_R), ("a", "b", "a", "tie")
    pairs = [(a, b) for a in range(count) for b in range(a)]
    comparisons = [Comparison(a, b, outcomes[(a + b) % 4]) for a, b in pairs]  # type: ignore[arg-type]
    return bradley_terry(
        reward_R, Pairs.of((0, each, 1.0 + number) for number, each in enumerate(comparisons))
    )


def of_all_at_once(reward_R: Tensor) -> Tensor:
    """No sum over pairs: the slope of one reward depends on all the others."""
    weight_R = torch.linspace(-1, 2, len(reward_R), dtype=reward_R.dtype)
    return torch.logsumexp(weight_R * reward_R, 0) * reward_R.std()


def gradients(model: RewardModel) -> dict[str, Tensor]:
    found = {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}
    assert found.keys() == {n for n, p in model.named_parameters() if p.requires_grad}
    return found


def check(found: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    least = FLOOR * float(torch.stack([tensor.norm() for tensor in expected.values()]).norm())
    assert least > 0
    for name, tensor in expected.items():
        assert float((found[name] - tensor).norm()) <= SAME * max(float(tensor.norm()), least), name


def in_one(
    model: RewardModel, sequences: Sequence[TokenIds], loss_of: Callable[[Tensor], Tensor]
) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
    """The reference: one graph over all rewards."""
    model.zero_grad()
    families = [0] * len(sequences)
    reward_R = rewards_of_sequences(model, sequences, max_tokens=10_000, families=families)
    loss = loss_of(reward_R)
    loss.backward()  # type: ignore[no-untyped-call]
    return reward_R.detach(), loss.detach(), gradients(model)


@every_engine
@pytest.mark.parametrize("budget", [1, 30, 45])
@pytest.mark.parametrize("loss_of", [every_pair, of_all_at_once])
def test_packs_give_the_gradients_of_the_whole(
    model: RewardModel, engine: EngineName, budget: int, loss_of: Callable[[Tensor], Tensor]
) -> None:
    model.use_engine(engine)
    sequences = nine()
    expected_R, expected_loss, expected = in_one(model, sequences, loss_of)
    assert float(expected_R.std()) > 0.1
    distinct = list(dict.fromkeys(sequences))
    packs = ENGINES[engine].cut(distinct, [0] * len(distinct), budget)
    assert len(packs) > 1
    order = [index for pack in packs for index in pack]
    assert order != sorted(order), "slopes must find their sequences"
    model.zero_grad()
    passes = model.computed.passes
    reward_R, loss = backward_in_packs(model, sequences, loss_of, budget)
    assert model.computed.passes == passes + 2 * len(packs)
    assert not reward_R.requires_grad
    assert not loss.requires_grad
    torch.testing.assert_close(reward_R, expected_R, rtol=SAME, atol=SAME)
    torch.testing.assert_close(loss, expected_loss, rtol=SAME, atol=0)
    check(gradients(model), expected)


def test_the_gradient_is_added_to_what_is_there(model: RewardModel) -> None:
    # Other packs of the step went before.
    model.use_engine("tree")
    _, _, expected = in_one(model, nine(), every_pair)
    model.zero_grad()
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    backward_in_packs(model, nine(), every_pair, 30)
    check({name: found - 1 for name, found in gradients(model).items()}, expected)


@every_engine
def test_packs_under_autocast(tiny_reward: Path, engine: EngineName) -> None:
    # Autocast keeps the weights that it has cast: those of a pass without gradients must not
    # serve the next one. Rounding is 2^-9, and packs of other shapes sum in another order: 0.015.
    model = enlarged(load_reward_model(str(tiny_reward), engine="padded"))
    model.compute_dtype = torch.bfloat16
    model.use_engine(engine)
    _, _, expected = in_one(model, nine(), every_pair)
    model.zero_grad()
    backward_in_packs(model, nine(), every_pair, 30)
    flat = [
        torch.cat([g.flatten() for g in each.values()]) for each in (gradients(model), expected)
    ]
    assert float((flat[0] - flat[1]).norm()) < 2**-4 * float(flat[1].norm())


# Dropout of adapters


@pytest.fixture(scope="module")
def adapted(tiny_base: Path) -> RewardModel:
    model = build_for_training(
        ModelConfig(path=str(tiny_base)),
        LoraConfig(r=4, alpha=16, dropout=0.3),  # type: ignore[call-arg]
        seed=3,
        max_length=128,
        device="cpu",
        engine="padded",
    )
    model.double().train()
    return enlarged(model)


@every_engine
@pytest.mark.parametrize("checkpointing", [False, True])
def test_the_second_pass_drops_what_the_first_dropped(
    adapted: RewardModel, engine: EngineName, checkpointing: bool
) -> None:
    adapted.use_engine(engine)
    if checkpointing:
        adapted.classifier.activation_checkpointing_enable({"use_reentrant": False})
    try:
        sequences, budget = list(dict.fromkeys(nine())), 45
        packs = adapted.engine.cut(sequences, [0] * len(sequences), budget)

        def by_hand(seed: int) -> tuple[Tensor, dict[str, Tensor], Tensor]:
            """Every pack once, with its graph, all of them in memory."""
            adapted.zero_grad()
            torch.manual_seed(seed)
            reward_R = torch.empty(len(sequences), dtype=torch.float64)
            for pack in packs:
                chosen = [sequences[index] for index in pack]
                rewards = rewards_of_sequences(
                    adapted, chosen, max_tokens=budget, families=[0] * len(pack)
                )
                reward_R = reward_R.index_put((torch.tensor(pack),), rewards)
            state = torch.get_rng_state()
            every_pair(reward_R).backward()  # type: ignore[no-untyped-call]
            return reward_R.detach(), gradients(adapted), state

        other_R, _, _ = by_hand(6)
        expected_R, expected, state = by_hand(5)
        assert float((other_R - expected_R).norm() / expected_R.norm()) > 0.1, "dropout is at work"
        adapted.zero_grad()
        torch.manual_seed(5)
        reward_R, _ = backward_in_packs(adapted, sequences, every_pair, budget)
        torch.testing.assert_close(reward_R, expected_R, rtol=SAME, atol=SAME)
        check(gradients(adapted), expected)
        # What is drawn next does not depend on how often a pack was computed.
        assert torch.equal(torch.get_rng_state(), state)
    finally:
        adapted.classifier.activation_checkpointing_disable()


def test_random_numbers_of_the_loss_are_not_drawn_twice(model: RewardModel) -> None:
    model.use_engine("tree")
    drawn: list[Tensor] = []

    def loss_of(reward_R: Tensor) -> Tensor:
        drawn.append(torch.rand(()))
        return every_pair(reward_R)

    torch.manual_seed(5)
    backward_in_packs(model, nine(), loss_of, 30)
    after = torch.rand(())
    torch.manual_seed(5)
    assert torch.equal(torch.stack([*drawn, after]), torch.stack([torch.rand(()) for _ in "12"]))


def test_each_pass_is_followed_by_its_own_backward_pass(
    model: RewardModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As processes in lockstep must, also where long sequences are read apart from short ones."""
    model.use_engine("tree")
    _, _, expected = in_one(model, nine(), every_pair)
    monkeypatch.setattr(RewardModel, "short_length", 20)
    done: list[str] = []

    def seen(*_: object) -> None:
        if torch.is_grad_enabled():
            done.append("forward")

    def backward(loss: Tensor) -> None:
        done.append("backward")
        loss.backward()  # type: ignore[no-untyped-call]

    model.zero_grad()
    with model.register_forward_hook(seen):
        backward_in_packs(model, nine(), every_pair, 1000, backward)
    assert done == ["forward", "backward"] * 2
    check(gradients(model), expected)


# In a step


def group_of(sequences: Sequence[TokenIds], weight: float = 1.0) -> EncodedGroup:
    """A group whose responses were compared in a circle, the last comparison a tie."""
    count = len(sequences)
    comparisons = [Comparison(i, (i + 1) % count, "a") for i in range(count - 1)]
    comparisons.append(Comparison(count - 1, 0, "tie"))
    message = Message("assistant", "not read here")
    group = Group(
        id=str(count),
        source=Source("rows.jsonl", count),
        prompt=(Message("user", "not read here"),),
        responses=(Response((message,)),) * count,
        comparisons=tuple(comparisons),
        weight=weight,
    )
    return EncodedGroup(group, tuple(sequences))


def four() -> EncodedGroup:
    """A prompt of 20 tokens and four responses of 10 that have nothing in common: 60 in a tree."""
    chance = random.Random(1)
    prompt = tokens(chance, 20)
    return group_of([(*prompt, first, *tokens(chance, 9)) for first in (30, 10, 40, 20)], 2.0)


def two() -> EncodedGroup:
    """A prompt of 5 tokens and two responses of 5: 15 in a tree."""
    chance = random.Random(2)
    prompt = tokens(chance, 5)
    return group_of([(*prompt, first, *tokens(chance, 4)) for first in (20, 10)])


def step(
    model: RewardModel, groups: Sequence[EncodedGroup], max_tokens: int, rate: float = 0.0
) -> tuple[StepResult, dict[str, Tensor]]:
    """One step of gradient descent; the weights are as before afterwards. Also the update."""
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    optimizer = torch.optim.SGD(model.parameters(), lr=rate)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1.0)
    settings = recipe(Path("m"), Path("t"), Path("o"), max_grad_norm=0.5)
    result = train_step(Single(model, optimizer), groups, schedule, settings, max_tokens)
    with torch.no_grad():
        update = {name: p - before[name] for name, p in model.named_parameters()}
        for name, parameter in model.named_parameters():
            parameter.copy_(before[name])
    return result, update


def test_a_step_counts_what_it_computes(model: RewardModel) -> None:
    # Budget 45. Tree: 20 + 10 + 10 = 40 tokens fill a pack, so the four stand in two packs of 40,
    # each computed twice; the two are a pack of 15. Without sharing a pack holds one sequence of
    # 30, computed twice, and the two in 20.
    expected = {"tree": (2 * 2 + 1, 2 * 80 + 15), "packed": (9, 260), "padded": (9, 260)}
    for engine, (packs, computed) in expected.items():
        model.use_engine(engine)  # type: ignore[arg-type]
        result, _ = step(model, [two(), four()], 45)
        assert (result.num_packs, result.num_computed_tokens) == (packs, computed)
        assert result.num_split_groups == 1
        assert (result.num_tokens, result.num_sequences) == (4 * 30 + 2 * 10, 6)
        assert len(result.rewards) == 6
        assert result.room == 45 * result.num_packs
        assert result.share_saved == pytest.approx(1 - computed / 140)
        assert result.pack_fill == pytest.approx(computed / (packs * 45))


def test_a_step_in_one_pack_counts_its_tree(model: RewardModel) -> None:
    model.use_engine("tree")
    result, _ = step(model, [two(), four()], 75)
    assert (result.num_packs, result.num_computed_tokens, result.num_split_groups) == (1, 75, 0)
    assert result.pack_fill == 1
    # A group that just fits is not split.
    result, _ = step(model, [four()], 60)
    assert (result.num_packs, result.num_split_groups) == (1, 0)
    result, _ = step(model, [four()], 59)
    assert (result.num_packs, result.num_split_groups) == (2 * 2, 1)


@every_engine
def test_the_budget_does_not_change_the_update(model: RewardModel, engine: EngineName) -> None:
    groups = [two(), group_of(nine()), four()]
    model.use_engine("padded")
    whole, expected = step(model, groups, 100_000, rate=0.1)
    # Clipped to a norm of 0.5, at a rate of 0.1.
    assert whole.grad_norm > 0.5
    norm = float(torch.stack([tensor.norm() for tensor in expected.values()]).norm())
    assert norm == pytest.approx(0.05, rel=1e-5)
    model.use_engine(engine)
    split = []
    for budget in (16, 40, 64, 4096):
        result, update = step(model, groups, budget, rate=0.1)
        check(update, expected)
        assert result.loss == pytest.approx(whole.loss, rel=SAME)
        assert result.grad_norm == pytest.approx(whole.grad_norm, rel=SAME)
        assert sorted(result.rewards) == pytest.approx(sorted(whole.rewards), rel=SAME, abs=SAME)
        assert (result.wins, result.num_comparisons) == (whole.wins, whole.num_comparisons)
        split.append(result.num_split_groups)
    # In a tree the two are 15 tokens, the nine 55 and the four 60; without sharing 20, 180, 120.
    assert split == {"tree": [2, 2, 0, 0]}.get(engine, [3, 2, 2, 0])
