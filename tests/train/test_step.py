"""One step: its loss and gradient are those of the batch, however the batch is cut into passes."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tiny_runs import recipe, rows, write_lines
from torch import Tensor, nn

from assay.config import LossConfig, Recipe, TrainConfig
from assay.data.encoding import EncodedGroup, encode_groups
from assay.data.loading import load_groups
from assay.data.records import Comparison, Outcome
from assay.data.sources import DataSource
from assay.errors import DivergenceError, ResourceError
from assay.losses import bradley_terry
from assay.model.heads import ensemble_of
from assay.model.loading import build_for_training
from assay.model.membership import give_members
from assay.model.reward_model import RewardModel
from assay.train.optimizer import build_optimizer, build_schedule
from assay.train.step import StepResult, pairs_of, train_step
from assay.train.strategy.single import Single
from assay.tree.pack import Pack


def build(base: Path, seed: int = 3) -> RewardModel:
    from assay.config import ModelConfig

    return build_for_training(
        ModelConfig(path=str(base)), None, seed=seed, max_length=128, device="cpu"
    )


@pytest.fixture(scope="module")
def model(tiny_base: Path) -> RewardModel:
    """In float64; the steps below use no learning rate, so that it never changes."""
    return build(tiny_base).double()


@pytest.fixture(scope="module")
def groups(tmp_path_factory: pytest.TempPathFactory, model: RewardModel) -> list[EncodedGroup]:
    """Eight groups of one or three comparisons; a tie and weights among them."""
    path = write_lines(tmp_path_factory.mktemp("rows") / "rows.jsonl", list(rows(8)))
    loaded = load_groups([DataSource(str(path))])
    found = encode_groups(loaded.groups, model.renderer, max_length=128).groups
    assert sorted(len(group.comparisons) for group in found) == [1, 1, 1, 3, 3, 3, 3, 3]
    first, second, *others = found
    second = weighted(second, comparisons=(2.0, 1.0, 0.5), outcome="tie")
    third = replace(others[0], group=replace(others[0].group, weight=3.0))
    return [first, second, third, *others[1:]]


def weighted(
    group: EncodedGroup, comparisons: Sequence[float], outcome: Outcome = "a"
) -> EncodedGroup:
    """The group with other weights; its first comparison gets the outcome."""
    changed = [
        replace(comparison, weight=weight)
        for comparison, weight in zip(group.comparisons, comparisons, strict=True)
    ]
    changed[0] = replace(changed[0], outcome=outcome)
    return replace(group, group=replace(group.group, comparisons=tuple(changed)))


def step(
    model: RewardModel,
    groups: Sequence[EncodedGroup],
    *,
    max_tokens: int = 100_000,
    weight_by: str = "comparison",
) -> tuple[StepResult, Tensor]:
    """One step at learning rate 0 without clipping, and its whole gradient."""
    checked = settings_of(weight_by)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.0)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1.0)
    result = train_step(Single(model, optimizer), groups, schedule, checked, max_tokens)
    gradients = [p.grad.flatten() for p in model.parameters() if p.grad is not None]
    return result, torch.cat(gradients).clone()


def settings_of(weight_by: str = "comparison") -> Recipe:
    found = recipe(Path("m"), Path("t"), Path("o"), max_grad_norm=1e9)
    return found.model_copy(update={"loss": found.loss.model_copy(update={"weight_by": weight_by})})


def distance(gradient: Tensor, reference: Tensor) -> float:
    return float((gradient - reference).norm() / reference.norm())


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(max_tokens=st.integers(1, 700), weight_by=st.sampled_from(["comparison", "prompt"]))
def test_the_cut_into_passes_does_not_change_the_step(
    model: RewardModel, groups: list[EncodedGroup], max_tokens: int, weight_by: str
) -> None:
    # T37. float64 weights, but transformers' norms compute in float32: an error of 1e-7, hence
    # 1e-6. Means of passes instead of one mean are wrong by far more than 1e-2 here.
    whole, reference = step(model, groups, weight_by=weight_by)
    cut, gradient = step(model, groups, max_tokens=max_tokens, weight_by=weight_by)
    assert distance(gradient, reference) < 1e-6
    assert cut.loss == pytest.approx(whole.loss, rel=1e-6)
    assert (cut.wins, cut.num_comparisons) == (whole.wins, whole.num_comparisons)
    assert (cut.num_sequences, cut.num_tokens) == (whole.num_sequences, whole.num_tokens)
    assert sorted(cut.rewards) == pytest.approx(sorted(whole.rewards), rel=1e-6)


def test_eight_passes_of_one_group_are_one_pass_of_eight(
    model: RewardModel, groups: list[EncodedGroup]
) -> None:
    # T37: accumulation 8 x 1 against 1 x 8. max_tokens 1 gives each group a pass of its own.
    _, one_pass = step(model, groups)
    _, eight_passes = step(model, groups, max_tokens=1)
    assert distance(eight_passes, one_pass) < 1e-6


def alone(model: RewardModel, ids: Sequence[int]) -> float:
    """The reward of one sequence by transformers' own forward, without padding."""
    classifier = copy.deepcopy(model.classifier)
    classifier.set_attn_implementation("eager")
    with torch.no_grad():
        return float(classifier(input_ids=torch.tensor([ids])).logits[0, 0])


@pytest.mark.parametrize("weight_by", ["comparison", "prompt"])
def test_the_loss_is_that_of_a_loop_in_python(
    model: RewardModel, groups: list[EncodedGroup], weight_by: str
) -> None:
    # T33, T35: sequences alone, scalars, math.log; nothing of losses.py or step.py.
    total = units = 0.0
    wins = decided = 0
    for group in groups:
        reward = [alone(model, ids) for ids in group.sequences]
        for comparison in group.group.comparisons:
            weight = comparison.weight * group.group.weight
            if weight_by == "prompt":
                weight /= len(group.group.comparisons)
            gap = reward[comparison.a] - reward[comparison.b]
            loss_a, loss_b = math.log(1 + math.exp(-gap)), math.log(1 + math.exp(gap))
            each = {"a": loss_a, "b": loss_b, "tie": (loss_a + loss_b) / 2}
            total += weight * each[comparison.outcome]
            units += weight
            if comparison.outcome != "tie":
                decided += 1
                wins += (gap if comparison.outcome == "a" else -gap) > 0
    result, _ = step(model, groups, max_tokens=150, weight_by=weight_by)
    assert result.loss == pytest.approx(total / units, rel=1e-6)
    # A tie is neither won nor lost: it does not count in the accuracy.
    assert (result.wins, result.num_comparisons) == (wins, decided)


def test_weights_by_hand(groups: list[EncodedGroup]) -> None:
    # One group of rewards 1, 0, -1 with comparisons 0>1, 0>2, 1>2, one of rewards 0, 1 with 0>1.
    # Losses log(1 + e^-gap): gaps 1, 2, 1 give 0.313262 + 0.126928 + 0.313262 = 0.753451, and the
    # gap -1 gives 1.313262.
    pairs = [(0, 1), (0, 2), (1, 2)]
    three = with_comparisons(groups[4], [Comparison(a, b, "a") for a, b in pairs], sequences=3)
    one = with_comparisons(groups[0], [Comparison(0, 1, "a")], sequences=2)
    reward_R = torch.tensor([1.0, 0.0, -1.0, 0.0, 1.0], dtype=torch.float64)
    # By comparison each counts 1: the sum is 2.066713. By prompt each counts 1 / its group's
    # number: 0.753451 / 3 + 1.313262 = 1.564412, over 2 prompts in the step.
    for weight_by, expected in (("comparison", 2.066713), ("prompt", 1.564412)):
        total = bradley_terry(reward_R, pairs_of([three, one], weight_by))
        assert float(total) == pytest.approx(expected, abs=2e-6)


def with_comparisons(
    group: EncodedGroup, comparisons: Sequence[Comparison], sequences: int
) -> EncodedGroup:
    changed = replace(
        group.group,
        responses=group.group.responses[:sequences],
        comparisons=tuple(comparisons),
        weight=1.0,
    )
    return EncodedGroup(changed, group.sequences[:sequences])


def test_the_step_divides_by_all_units_of_the_batch(
    model: RewardModel, groups: list[EncodedGroup]
) -> None:
    # With equal rewards each comparison loses ln 2, so their weighted mean is ln 2 whatever the
    # weights and passes are.
    flat = copy.deepcopy(model)
    assert flat.head_weight is not None
    with torch.no_grad():
        flat.head_weight.zero_()
    for weight_by in ("comparison", "prompt"):
        for max_tokens in (1, 200, 10_000):
            result, _ = step(flat, groups, max_tokens=max_tokens, weight_by=weight_by)
            assert result.loss == pytest.approx(math.log(2), rel=1e-12)


def test_a_batch_without_weight_teaches_nothing_and_says_so(
    model: RewardModel, groups: list[EncodedGroup], caplog: pytest.LogCaptureFixture
) -> None:
    result, gradient = step(model, [weighted(groups[0], [0.0])])
    assert (result.loss, float(gradient.norm())) == (0, 0)
    (record,) = caplog.records
    assert "rows.jsonl:1 have no weight: nothing to learn" in record.getMessage()


def test_the_gradient_is_clipped_to_the_norm_and_reported_before(
    tiny_base: Path, groups: list[EncodedGroup]
) -> None:
    model = build(tiny_base).double()
    _, gradient = step(model, groups)
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1.0)
    found = recipe(Path("m"), Path("t"), Path("o"), max_grad_norm=0.01)
    before = flat_weights(model)
    result = train_step(Single(model, optimizer), groups, schedule, found, 10_000)
    assert result.grad_norm == pytest.approx(float(gradient.norm()), rel=1e-6)
    # clip_grad_norm_ divides by norm + 1e-6: off by 1e-6 / norm, which is below 1e-5 here.
    assert result.grad_norm > 0.1
    assert float((flat_weights(model) - before).norm()) == pytest.approx(0.01, rel=1e-5)


def flat_weights(model: RewardModel) -> Tensor:
    return torch.cat([p.detach().flatten().clone() for p in model.parameters()])


@pytest.mark.parametrize("max_tokens", [1, 10_000])
def test_a_loss_that_is_not_finite_names_its_rows_and_no_others(
    tiny_base: Path, groups: list[EncodedGroup], max_tokens: int
) -> None:
    # The embedding of a token that only one group holds is broken; in one pack with all others it
    # spoils their rewards, too.
    model = build(tiny_base).double()
    held = [{token for ids in group.sequences for token in ids} for group in groups]
    place, own = next(
        (index, tokens)
        for index, tokens in enumerate(
            held[i] - set().union(*(held[:i] + held[i + 1 :])) for i in range(len(held))
        )
        if tokens
    )
    with torch.no_grad():
        model.classifier.get_input_embeddings().weight[min(own)] = math.nan
    before = flat_weights(model)
    with pytest.raises(DivergenceError) as raised:
        step(model, groups, max_tokens=max_tokens)
    rows = ", ".join(str(comparison.row) for comparison in groups[place].comparisons)
    assert str(raised.value).startswith(
        f"the loss is not finite with the rows {rows}; lower train.learning_rate"
    )
    assert torch.equal(flat_weights(model).nan_to_num(), before.nan_to_num())


def test_a_gradient_that_is_not_finite_names_rows_and_leaves_the_weights(
    tiny_base: Path, groups: list[EncodedGroup]
) -> None:
    model = build(tiny_base).double()
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1.0)
    assert model.head_weight is not None
    model.head_weight.register_hook(lambda gradient: gradient * math.inf)
    before = flat_weights(model)
    with pytest.raises(DivergenceError, match="the gradient is not finite") as raised:
        train_step(
            Single(model, optimizer), [*groups, *groups[:2]], schedule, settings_of(), 10_000
        )
    # Ten groups: eight rows are named, two are counted.
    assert str(raised.value).count("rows.jsonl:") == 8
    assert "and 2 more" in str(raised.value)
    assert torch.equal(flat_weights(model), before)


def test_a_gradient_of_members_that_is_not_finite_names_rows(
    tiny_base: Path, groups: list[EncodedGroup]
) -> None:
    model = build(tiny_base)
    give_members(model, ensemble_of(3), seed=1)
    assert model.heads is not None
    model.heads.weight_MD.register_hook(lambda gradient: gradient * math.inf)
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1.0)
    checked = settings_of()
    checked = checked.model_copy(update={"loss": LossConfig(ensemble=3)})  # type: ignore[call-arg]
    with pytest.raises(DivergenceError, match="the gradient is not finite in the batch of rows"):
        train_step(Single(model, optimizer), groups, schedule, checked, 10_000)


@pytest.mark.parametrize("seed", range(10))
def test_the_first_loss_of_a_seeded_head_is_near_ln_2(
    tiny_base: Path, groups: list[EncodedGroup], seed: int
) -> None:
    # T27: a head that was never initialised, or one of scale 1, is out of this range.
    result, _ = step(build(tiny_base, seed), groups)
    assert 0.5 <= result.loss <= 1.2


WARMUP, STEPS, PEAK = 2, 10, 0.4


def linear(step: int) -> float:
    return step / WARMUP if step < WARMUP else (STEPS - step) / (STEPS - WARMUP)


def cosine(step: int) -> float:
    done = (step - WARMUP) / (STEPS - WARMUP)
    return step / WARMUP if step < WARMUP else (1 + math.cos(math.pi * done)) / 2


@pytest.mark.parametrize(
    ("kind", "share"),
    [
        ("linear", linear),
        ("cosine", cosine),
        ("constant", lambda step: 1.0),
        ("constant_with_warmup", lambda step: min(1.0, step / WARMUP)),
    ],
)
def test_schedules_by_formula(kind: str, share: object) -> None:
    # T50: ten steps, 20% of them warm-up. Step n (from 0) trains at share(n) of the peak, and
    # after the last step the falling schedules are at zero: not before, not above.
    assert callable(share)
    config = TrainConfig(learning_rate=PEAK, lr_scheduler_type=kind, warmup_ratio=WARMUP / STEPS)  # type: ignore[call-arg]
    parameter = nn.Parameter(torch.ones(1))
    optimizer = build_optimizer([("one", parameter)], config)
    schedule = build_schedule(optimizer, config, STEPS)
    rates = []
    for _ in range(STEPS):
        rates.append(schedule.get_last_lr()[0])
        parameter.grad = torch.ones(1)
        optimizer.step()
        schedule.step()
    assert rates == pytest.approx([PEAK * share(step) for step in range(STEPS)], abs=1e-12)
    if kind in ("linear", "cosine"):
        assert schedule.get_last_lr()[0] == pytest.approx(0.0, abs=1e-12)
        assert min(rates[WARMUP:]) > 0


def test_a_warm_up_that_is_no_whole_number_is_rounded_up() -> None:
    # 10% of 15 steps is 1.5: two steps, as transformers' trainer does.
    config = TrainConfig(learning_rate=1.0, lr_scheduler_type="linear", warmup_ratio=0.1)  # type: ignore[call-arg]
    parameter = nn.Parameter(torch.ones(1))
    optimizer = build_optimizer([("one", parameter)], config)
    schedule = build_schedule(optimizer, config, 15)
    parameter.grad = torch.ones(1)
    optimizer.step()
    schedule.step()
    assert schedule.get_last_lr() == [0.5]


def test_weight_decay_touches_matrices_only(tiny_base: Path) -> None:
    # AdamW on a gradient of zero moves nothing by itself: w becomes w * (1 - rate * decay), here
    # w * (1 - 0.1 * 0.5) = 0.95 w. Norm weights (1-D) stay as they are.
    model = build(tiny_base)
    config = TrainConfig(learning_rate=0.1, weight_decay=0.5)  # type: ignore[call-arg]
    optimizer = build_optimizer(model.named_parameters(), config)
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    kinds = {parameter.ndim for parameter in model.parameters()}
    assert kinds == {1, 2}
    for name, parameter in model.named_parameters():
        expected = before[name] * 0.95 if parameter.ndim == 2 else before[name]
        torch.testing.assert_close(parameter.detach(), expected, rtol=1e-6, atol=0)


def test_biases_of_experts_and_norms_of_heads_do_not_decay() -> None:
    # As gpt_oss has the one ([experts, width]) and Cohere the other ([heads, width]).
    names = ("experts.down_proj", "experts.down_proj_bias", "self_attn.q_norm.weight", "up.bias")
    weights = [(name, torch.nn.Parameter(torch.ones(2, 3))) for name in names]
    config = TrainConfig(weight_decay=0.5)  # type: ignore[call-arg]
    decaying, others = build_optimizer(weights, config).param_groups
    assert (decaying["weight_decay"], others["weight_decay"]) == (0.5, 0.0)
    assert [id(p) for p in decaying["params"]] == [id(weights[0][1])]


def test_frozen_weights_stand_in_no_optimizer_group(tiny_base: Path) -> None:
    from assay.config import LoraConfig, ModelConfig

    lora = LoraConfig(target_modules=["q_proj"])  # type: ignore[call-arg]
    model = build_for_training(
        ModelConfig(path=str(tiny_base)), lora, seed=1, max_length=128, device="cpu"
    )
    optimizer = build_optimizer(model.named_parameters(), TrainConfig())  # type: ignore[call-arg]
    held = {id(p) for group in optimizer.param_groups for p in group["params"]}
    trained = {name for name, p in model.named_parameters() if id(p) in held}
    assert trained == {name for name, p in model.named_parameters() if p.requires_grad}
    # T23: the head is among them, and besides it only adapters.
    assert sum("score" in name for name in trained) == 1
    assert all("lora_" in name for name in trained if "score" not in name)


@pytest.mark.parametrize(
    ("max_tokens", "max_length", "says"),
    [
        # All groups in one pack: half of it would do. One group split: half of the pack.
        (100_000, 64, r"in a pack of 8 groups, \d+ tokens; set train.max_tokens_per_pack to \d+"),
        (40, 16, r"in a pack of the group of .*, 40 tokens; set train.max_tokens_per_pack to 20"),
        (40, 40, r"in a pack of the group of .*, 40 tokens; lower train.max_length, or set train."),
    ],
)
def test_a_shortage_of_memory_names_a_budget_that_is_smaller(
    model: RewardModel,
    groups: list[EncodedGroup],
    monkeypatch: pytest.MonkeyPatch,
    max_tokens: int,
    max_length: int,
    says: str,
) -> None:
    forward = RewardModel.forward

    def no_memory(self: RewardModel, batch: Pack) -> Tensor:
        if torch.is_grad_enabled():  # Graphs are what does not fit.
            raise torch.OutOfMemoryError("CUDA out of memory")
        return forward(self, batch)

    monkeypatch.setattr(RewardModel, "forward", no_memory)
    checked = settings_of()
    train_config = checked.train.model_copy(update={"max_length": max_length})
    checked = checked.model_copy(update={"train": train_config})
    optimizer = torch.optim.SGD(model.parameters(), lr=0.0)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1.0)
    with pytest.raises(ResourceError, match=says):
        train_step(Single(model, optimizer), groups, schedule, checked, max_tokens)
