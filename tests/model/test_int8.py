"""Linear layers in 8 bits: exact sums, rounding by hand, what is exchanged, what moves rewards."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from assay import RewardModel
from assay.config import LoraConfig, ModelConfig
from assay.errors import ConfigError
from assay.model import precision
from assay.model.int8 import plan, probe
from assay.model.int8.backbone import Choice, exchange, linear_layers, watching
from assay.model.int8.effect import Effect, effect
from assay.model.int8.layers import Int8Linear, Int8Mlp, Int8Weight, Joined, product, rounded
from assay.model.int8.precision import Int8, own_sequences, quantise
from assay.model.loading import build_for_training, load_reward_model
from assay.model.rewards import score_sequences
from assay.model.saving import save_plain

SEQUENCES = [(1, 5, 9, 20), (1, 5, 9, 21, 7), (1, 5, 30), (2, 40, 41)]
PROMPTS = [0, 0, 0, 1]


@pytest.fixture(scope="module")
def worth(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Machines that are too slow for it, or busy, are none of these tests' business."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("assay.model.int8.precision.check_worth", lambda: None)
        yield


def integers(seed: int, *shape: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    found = torch.randint(-127, 128, shape, generator=generator).to(torch.int8)
    found.view(-1)[:2] = torch.tensor([127, -127], dtype=torch.int8)[: found.numel()]
    return found


# Arithmetic


@pytest.mark.parametrize("k", [1, 2, 3, 15, 17, 63, 576, 1537])
@pytest.mark.parametrize("m", [1, 2, 19, 256])
def test_sums_are_those_of_int64(m: int, k: int) -> None:
    for n in (1, 7, 64):
        a, b = integers(m + k, m, k), integers(n + k, n, k)
        expected = a.long() @ b.long().T
        assert torch.equal(product(a, b).long(), expected)


def test_the_largest_sums_are_exact() -> None:
    a = torch.full((3, 4096), 127, dtype=torch.int8)
    assert product(a, -a).unique().tolist() == [-4096 * 127 * 127]


def test_rows_are_rounded_to_127_steps_of_their_own_largest() -> None:
    row = torch.tensor([[2.54, -1.27, 0.013, 0.0], [0.0, 0.0, 0.0, 0.0], [-127.0, 0.5, 1.5, 2.5]])
    [whole], scale = rounded(row)
    # 2.54 / 127 = 0.02: 127, -63.5 to the even -64, 0.65 to 1. Half to even: 0.5 to 0, 1.5 to 2.
    assert whole.tolist() == [[127, -64, 1, 0], [0, 0, 0, 0], [-127, 0, 2, 2]]
    assert scale.flatten().tolist() == pytest.approx([0.02, 0.0, 1.0], rel=1e-6)


def test_the_second_term_is_what_the_first_leaves() -> None:
    row = torch.tensor([[-127.0, 0.5, 1.25, 2.5]])
    (whole, rest), scale = rounded(row, 2)
    # 0.5 = 0 + 127 / 254; 1.25 = 1 + 63.5 / 254 (64, to the even); 2.5 = 2 + 127 / 254.
    assert whole.tolist() == [[-127, 0, 1, 2]]
    assert rest.tolist() == [[0, 127, 64, 127]]
    assert scale.item() == 1


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_what_is_not_finite_stays_so(bad: float) -> None:
    layer = linear_in_8_bits(nn.Linear(3, 2))
    output = layer(torch.tensor([[1.0, bad, 2.0], [1.0, 2.0, 3.0]]))
    assert not torch.isfinite(output[0]).any()
    assert torch.isfinite(output[1]).all()


def linear_in_8_bits(linear: nn.Linear, *more: Any) -> Int8Linear:
    return Int8Linear(Joined(Int8Weight([linear.weight], *more), [linear.bias]), 0)


@given(st.integers(0, 1000), st.integers(1, 300), st.integers(1, 70), st.integers(1, 50))
@settings(max_examples=30, deadline=None)
def test_each_product_is_within_its_rounding(seed: int, m: int, k: int, n: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    linear = nn.Linear(k, n).requires_grad_(False)
    linear.weight.copy_(torch.randn(n, k, generator=generator))
    x = torch.randn(m, k, generator=generator)
    wide_x, wide_w = x.double(), linear.weight.double()
    difference = (linear_in_8_bits(linear)(x).double() - linear(x).double()).abs()
    # Each factor is off by half a step: |x' w' - x w| <= (|x| sw + |w| sx) / 2 + sx sw / 4.
    step_x, step_w = (value.abs().amax(-1, keepdim=True) / 127 for value in (wide_x, wide_w))
    bound = (wide_x.abs().sum(-1, keepdim=True) * step_w.T + step_x * wide_w.abs().sum(-1)) / 2
    bound += k * step_x * step_w.T / 4
    assert bool((difference <= bound * (1 + 1e-5) + 1e-5).all())
    # With second terms of both the steps are 254 times as fine; their own product is left out.
    exact = linear_in_8_bits(linear, None, 2, (0,))(x).double()
    assert bool(((exact - linear(x).double()).abs() <= bound / 60 + 1e-5).all())


def test_columns_change_no_product_but_the_rounding() -> None:
    torch.manual_seed(0)
    linear = nn.Linear(64, 32).requires_grad_(False)
    x = torch.randn(40, 64)
    x[:, 3] *= 64  # Beside it all others have few steps.
    columns = torch.ones(64)
    columns[3] = 1 / 8  # Half of it: the weights have to bear the rest.
    plain, smooth = linear_in_8_bits(linear), linear_in_8_bits(linear, columns)
    error = [(layer(x) - linear(x)).norm().item() for layer in (plain, smooth)]
    assert error[1] < error[0] / 3


def test_readers_of_one_tensor_are_computed_together_and_forgotten() -> None:
    torch.manual_seed(0)
    linears = [nn.Linear(20, n).requires_grad_(False) for n in (8, 3, 5)]
    joined = Joined(Int8Weight([one.weight for one in linears]), [one.bias for one in linears])
    x = torch.randn(2, 300, 20)
    outputs = [Int8Linear(joined, number)(x) for number in range(3)]
    for linear, output in zip(linears, outputs, strict=True):
        assert torch.equal(output, linear_in_8_bits(linear)(x))
        assert output.shape == (2, 300, linear.out_features)
    assert joined._input is None
    assert not joined._outputs


def test_a_row_knows_nothing_of_its_neighbours() -> None:
    torch.manual_seed(0)
    layer = linear_in_8_bits(nn.Linear(50, 30).requires_grad_(False))
    x = torch.randn(600, 50) * torch.logspace(-3, 3, 600)[:, None]
    whole = layer(x)
    for row in (0, 255, 256, 599):
        assert torch.equal(layer(x[row : row + 1])[0], whole[row])


def test_a_gated_mlp_is_what_its_layers_are() -> None:
    torch.manual_seed(0)
    gate, up, down = nn.Linear(32, 80), nn.Linear(32, 80), nn.Linear(80, 32)
    weights = Int8Weight([gate.weight, up.weight]), Int8Weight([down.weight], torch.full((80,), 2))
    mlp = Int8Mlp(*weights, nn.SiLU())
    x = torch.randn(1, 300, 32)
    inner = nn.functional.silu(x @ gate.weight.T) * (x @ up.weight.T)
    expected = (inner @ down.weight.T).detach()
    assert (mlp(x) - expected).norm() < 0.02 * expected.norm()
    one = mlp(x[:, 7:8])
    assert torch.equal(one, mlp(x)[:, 7:8])


def test_gradients_are_refused() -> None:
    layer = linear_in_8_bits(nn.Linear(4, 4))
    with pytest.raises(RuntimeError, match="no gradients"):
        layer(torch.ones(1, 4, requires_grad=True))


# What is exchanged


class Block(nn.Module):
    """A layer of GPT-2's kind beside one that is never called, and one that is too narrow."""

    def __init__(self) -> None:
        super().__init__()
        self.first = Conv1D(48, 32)
        self.unused = nn.Linear(32, 32)
        self.narrow = nn.Linear(48, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.narrow(torch.tanh(self.first(x)))


def test_layers_that_are_not_reached_or_too_narrow_stay() -> None:
    torch.manual_seed(0)
    block, x = Block().requires_grad_(False), torch.randn(5, 32)
    nn.init.normal_(block.first.bias)
    before = block(x)
    layers = linear_layers(block)
    assert [layer.name for layer in layers] == ["first", "unused"]
    with watching(layers) as found:
        block(x)
    exchange(block, found, [Choice(2, (0,))])
    assert type(block.first) is Int8Linear
    assert type(block.unused) is type(block.narrow) is nn.Linear
    assert torch.allclose(block(x), before, atol=1e-4)


def test_the_backbone_is_exchanged_and_the_head_is_not(tiny_reward: Path, worth: Any) -> None:
    model = load_reward_model(str(tiny_reward), device="cpu")
    before = score_sequences(model, SEQUENCES, families=PROMPTS)
    wanted = Int8(model)
    assert score_sequences(model, SEQUENCES, families=PROMPTS) == before
    kinds = [sorted(layer.name for layer in readers.layers) for readers in wanted._found]
    assert kinds == 2 * [
        ["k_proj", "q_proj", "v_proj"],
        ["o_proj"],
        ["gate_proj", "up_proj"],
        ["down_proj"],
    ]
    wanted.exchange()
    assert not [m for m in model.classifier.model.modules() if type(m) is nn.Linear]
    assert type(model.classifier.score) is nn.Linear
    assert type(model.classifier.model.layers[0].mlp) is Int8Mlp
    after = score_sequences(model, SEQUENCES, families=PROMPTS)
    assert after != before
    assert after == pytest.approx(before, abs=0.05)
    alone = [score_sequences(model, [ids])[0] for ids in SEQUENCES]
    assert after == pytest.approx(alone, abs=1e-5)
    assert score_sequences(model, SEQUENCES, families=PROMPTS) == after


def test_its_speed_is_that_of_two_passes_that_are_warm(
    tiny_reward: Path, worth: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    own, seconds = Int8._rewards, iter([9.0, 2.0, 1.0])
    monkeypatch.setattr(Int8, "_rewards", lambda self: (own(self)[0], next(seconds)))
    assert Int8(load_reward_model(str(tiny_reward), device="cpu")).exchange().speed == 2.0


def test_a_head_that_says_nothing_is_refused(tiny_reward: Path, worth: Any) -> None:
    model = load_reward_model(str(tiny_reward), device="cpu")
    assert model.head_weight is not None
    with torch.no_grad():
        model.head_weight.zero_()
    with pytest.raises(ConfigError, match="gives all answers one reward"):
        Int8(model)


@pytest.mark.parametrize("engine", ["packed", "padded"])
def test_other_engines_give_the_same(tiny_reward: Path, worth: Any, engine: str) -> None:
    found = []
    for name in ("tree", engine):
        model = RewardModel.load(str(tiny_reward), engine=name, device="cpu", precision="int8")
        assert (model.engine.name, model.precision) == (name, "int8")
        found.append(score_sequences(model, SEQUENCES, families=PROMPTS))
    # Padded, the last MLP reads all tokens, and its columns are adjusted to them.
    assert found[0] == pytest.approx(found[1], abs=0.02)


def test_where_it_cannot_be(tiny_base: Path, tiny_reward: Path, tmp_path: Path) -> None:
    model = load_reward_model(str(tiny_reward), device="cpu", dtype="bfloat16")
    with pytest.raises(ConfigError, match="this one is in bfloat16 on cpu"):
        quantise(model)
    adapted = build_for_training(
        ModelConfig(path=str(tiny_base)), LoraConfig(r=2), seed=1, max_length=64, device="cpu"
    )
    with pytest.raises(ConfigError, match="merge it first"):
        quantise(adapted)
    with pytest.raises(ConfigError, match="unknown precision 'int4'"):
        RewardModel.load(str(tiny_reward), precision="int4")


def test_it_is_not_saved(tiny_reward: Path, worth: Any, tmp_path: Path) -> None:
    model = load_reward_model(str(tiny_reward), device="cpu", precision="int8")
    with pytest.raises(ConfigError, match="a model in 8 bits is for scoring"):
        save_plain(model, tmp_path)


# What moves rewards


def test_shifts_to_first_order_are_those_that_are_seen(tiny_reward: Path, worth: Any) -> None:
    """One layer at a time in 8 bits moves rewards as its gradient says."""
    model = load_reward_model(str(tiny_reward), device="cpu")
    sequences, _ = own_sequences(model)
    sequences = sequences[:6]
    layers = linear_layers(model.classifier.model)
    with watching(layers) as found:
        before = score_sequences(model, sequences)
    noted: list[Any] = []
    original = plan._note
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plan, "_note", lambda *a: (original(*a), noted.append(a)))
        plan.planned(model, found, sequences, 1.0)
    order = [
        i
        for chosen in plan.padded_batches([len(ids) for ids in sequences], plan._BATCH)
        for i in chosen
    ]
    for number in (0, 3):  # q, k, v of the first layer, and its down.
        exchanged = copy.deepcopy(model)
        with watching(linear_layers(exchanged.classifier.model)) as again:
            score_sequences(exchanged, sequences)
        choice = Choice(1, columns_K=found[number].columns())
        exchange(exchanged.classifier.model, [again[number]], [choice])
        after = score_sequences(exchanged, sequences)
        seen = torch.tensor(after)[order] - torch.tensor(before)[order]
        shifts = next(a[2] for a in noted if a[0] is found[number]).smoothed
        predicted = torch.cat(shifts)
        assert (seen - predicted).norm() < 0.3 * seen.norm()


def test_second_terms_go_where_they_gain_most_for_their_products(tiny_reward: Path) -> None:
    model = load_reward_model(str(tiny_reward), device="cpu")
    with watching(linear_layers(model.classifier.model)) as found:
        score_sequences(model, SEQUENCES)
    columns = [readers.columns() for readers in found]
    small, large = torch.tensor([1e-6, -1e-6]), torch.tensor([1.0, -1.0])

    def shifts(at: int) -> list[Any]:
        return [
            plan._Shifts([large if n == at else small], [[small] for _ in readers.layers])
            for n, readers in enumerate(found)
        ]

    chosen = plan._chosen(found, columns, shifts(3), spread=1.0)
    assert [choice.terms for choice in chosen.choices] == [1, 1, 1, 2, 1, 1, 1, 1]
    assert 1 < chosen.products <= plan.MOST
    assert chosen.error < 1e-4
    again = plan._chosen(found, columns, shifts(5), spread=1.0)
    assert again.digest != chosen.digest
    none = plan._chosen(found, columns, shifts(3), spread=1e6)
    assert none.products == 1


def test_the_effect_by_hand() -> None:
    found = effect([1.0, 2.0, 3.0, 0.0], [1.5, 1.0, 3.0, 0.0], [0, 0, 0, 1], speed=2.04)
    # Of six pairs of answers one changes its order: (5 - 1) / 6. Of the three to prompt 0, one.
    assert found == Effect(4, 1.0, -0.125, pytest.approx(2 / 3), 3, pytest.approx(2 / 3), 2.04)
    assert str(found) == (
        "4 answers scored in both precisions: rewards moved by 1.0000 at most, -0.1250 on average, "
        "Kendall's tau 0.6667, 66.67% of 3 pairs of answers in the same order, 2 times as fast"
    )


@pytest.mark.parametrize(("answers", "level"), [(19, None), (20, "WARNING")])
def test_an_order_that_changes_is_warned_of_or_too_few_to_judge(
    answers: int, level: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "assay")
    numbers = list(map(float, range(answers)))
    effect(numbers, numbers[::-1], [0] * answers).say("here")
    assert [one.levelname for one in caplog.records] == ["INFO", *([level] if level else [])]
    few = "; too few answers to judge their order, which takes 20"
    assert caplog.messages[0].endswith(few) == (level is None)


def test_the_effect_where_there_is_nothing_to_order() -> None:
    assert effect([1.0], [1.0], [0]) == Effect(1, 0.0, 0.0, None, 0, None)
    assert effect([], [], []).num_answers == 0


# Whether it is worth it here


@pytest.mark.parametrize(
    ("seconds", "says"),
    [
        ([0.003, 0.004], r"8 bits gain nothing here: a linear layer takes 4 ms, in float32 3 ms"),
        (None, "8-bit products are wrong or fail on this CPU"),
    ],
)
def test_it_is_refused_where_it_gains_nothing(
    seconds: list[float] | None, says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ASSAY_CACHE", str(tmp_path))
    place = precision._place("int8")
    place.parent.mkdir(parents=True)
    place.write_text(json.dumps(seconds))
    with pytest.raises(ConfigError, match=says):
        probe.check_worth()
    assert place != precision._place()


def test_this_cpu_is_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ASSAY_CACHE", str(tmp_path))
    found = precision.measured(probe._PROBE, "int8")
    assert found is not None, "products in 8 bits are wrong here"
    assert all(1e-6 < seconds < 10 for seconds in found)
