"""Bradley-Terry: hand values, margin, smoothing, centring, extremes, ties, weights, and cutting."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from assay.data.records import Comparison, Outcome
from assay.losses import Pairs, bradley_terry, centring

LN2 = math.log(2)


def pairs_of(*comparisons: tuple[int, int, Outcome, float]) -> Pairs:
    """From (first response, second response, outcome, weight)."""
    return Pairs.of((0, Comparison(a, b, outcome), weight) for a, b, outcome, weight in comparisons)


def loss_and_gradient(
    rewards: Sequence[float], pairs: Pairs, dtype: torch.dtype = torch.float32
) -> list[Tensor]:
    reward_R = torch.tensor(rewards, dtype=dtype, requires_grad=True)
    loss = bradley_terry(reward_R, pairs)
    (gradient,) = torch.autograd.grad(loss, reward_R)
    return [loss.detach(), gradient]


# Hand values


def test_one_win_is_minus_log_sigmoid_of_the_gap() -> None:
    # Gap 2 - 1 = 1: log(1 + e^-1) = log 1.36787944 = 0.31326169.
    # Gradient: -s(-1) = -1 / (1 + e) = -0.26894142 on the better one, its opposite on the other.
    loss, gradient = loss_and_gradient([2.0, 1.0], pairs_of((0, 1, "a", 1.0)), torch.float64)
    assert loss.item() == pytest.approx(0.31326168751822286, abs=1e-12)
    assert gradient.tolist() == pytest.approx([-0.2689414213699951, 0.2689414213699951], abs=1e-12)


def test_the_better_one_may_stand_second() -> None:
    # The same comparison the other way round: gap 1 - 2 = -1, log(1 + e) = 1.31326169.
    won = loss_and_gradient([2.0, 1.0], pairs_of((1, 0, "b", 1.0)), torch.float64)
    lost = loss_and_gradient([2.0, 1.0], pairs_of((0, 1, "b", 1.0)), torch.float64)
    assert won[0].item() == pytest.approx(0.31326168751822286, abs=1e-12)
    assert lost[0].item() == pytest.approx(1.3132616875182228, abs=1e-12)


def test_a_tie_costs_half_of_each_outcome() -> None:
    # Gap 1: (0.31326169 + 1.31326169) / 2 = 0.81326169; gradient of either sign:
    # (-s(-1) + s(1)) / 2 = (-0.26894142 + 0.73105858) / 2 = 0.23105858 on the higher one.
    for order in ((0, 1), (1, 0)):
        loss, gradient = loss_and_gradient(
            [2.0, 1.0], pairs_of((*order, "tie", 1.0)), torch.float64
        )
        assert loss.item() == pytest.approx(0.8132616875182228, abs=1e-12)
        assert gradient.tolist() == pytest.approx([0.23105857863, -0.23105857863], abs=1e-10)


def test_equal_rewards_cost_log_2_and_a_tie_between_them_pulls_nowhere() -> None:
    # T27: hence a loss near 0.69 at step 0.
    loss, gradient = loss_and_gradient([0.5, 0.5], pairs_of((0, 1, "tie", 1.0)), torch.float64)
    assert loss.item() == pytest.approx(LN2, abs=1e-12)
    assert gradient.tolist() == [0.0, 0.0]
    loss, gradient = loss_and_gradient([0.5, 0.5], pairs_of((0, 1, "a", 1.0)), torch.float64)
    assert loss.item() == pytest.approx(LN2, abs=1e-12)
    assert gradient.tolist() == [-0.5, 0.5]


def test_a_sum_of_weighted_comparisons_not_a_mean() -> None:
    # Rewards 1, 0, -2. Gaps: 0 over 1: 1 (0.31326169, weight 1); 0 over 2: 3
    # (log(1 + e^-3) = 0.04858735, weight 0.5); 2 over 1: -2 (log(1 + e^2) = 2.12692801, weight 2).
    # 0.31326169 + 0.02429368 + 4.25385602 = 4.59141139.
    pairs = pairs_of((0, 1, "a", 1.0), (0, 2, "a", 0.5), (1, 2, "b", 2.0))
    loss, gradient = loss_and_gradient([1.0, 0.0, -2.0], pairs, torch.float64)
    assert loss.item() == pytest.approx(4.591411385, abs=1e-8)
    # Gradient: g_1 = -s(-1) - 0.5 s(-3) = -0.26894142 - 0.02371294; g_2 = 0.26894142 + 2 s(2)
    # = 0.26894142 + 1.76159416; g_3 = 0.02371294 - 1.76159416. They sum to 0.
    assert gradient.tolist() == pytest.approx([-0.29265436, 2.03053558, -1.73788122], abs=1e-8)
    assert gradient.sum().item() == pytest.approx(0, abs=1e-12)


def test_pairs_index_the_rewards_of_their_group() -> None:
    pairs = Pairs.of(
        [
            (0, Comparison(0, 1, "a"), 1.0),
            (2, Comparison(0, 1, "b"), 0.5),
            (2, Comparison(2, 0, "tie"), 2.0),
        ]
    )
    assert pairs.better_C.tolist() == [0, 3, 4]
    assert pairs.worse_C.tolist() == [1, 2, 2]
    assert pairs.target_C.tolist() == [1.0, 1.0, 0.5]
    assert pairs.weight_C.tolist() == [1.0, 0.5, 2.0]
    assert pairs.margin_C.tolist() == [0.0, 0.0, 0.0]


def with_margins(*comparisons: tuple[int, int, Outcome, float | None]) -> Pairs:
    """From (first response, second response, outcome, margin), each of weight 1."""
    return Pairs.of(
        (0, Comparison(a, b, outcome, margin=margin), 1.0) for a, b, outcome, margin in comparisons
    )


def test_a_gap_has_to_exceed_the_margin() -> None:
    # Gap 2 - 1 = 1, margin 3 at scale 0.5: x = 1 - 1.5 = -0.5; log(1 + e^0.5) = log 2.64872127
    # = 0.97407698. Won by the second one instead: x = -1 - 1.5, log(1 + e^2.5) = 2.57888973.
    reward_R = torch.tensor([2.0, 1.0], dtype=torch.float64)
    for outcome, expected in (("a", 0.9740769841801067), ("b", 2.5788897342925496)):
        pairs = with_margins((0, 1, outcome, 3.0))  # type: ignore[arg-type]
        loss = bradley_terry(reward_R, pairs, margin_scale=0.5)
        assert loss.item() == pytest.approx(expected, abs=1e-12)


def test_margins_are_left_out_where_no_scale_is_given_and_of_ties_and_absent_ones() -> None:
    reward_R = torch.tensor([2.0, 1.0], dtype=torch.float64)
    plain = bradley_terry(reward_R, with_margins((0, 1, "a", None), (0, 1, "tie", None)))
    given = with_margins((0, 1, "a", 3.0), (0, 1, "tie", 3.0))
    assert torch.equal(bradley_terry(reward_R, given), plain)
    without = with_margins((0, 1, "a", None), (0, 1, "tie", 3.0))
    assert torch.equal(bradley_terry(reward_R, without, margin_scale=2.0), plain)


def test_each_comparison_has_its_own_margin() -> None:
    # T33: margins neither broadcast nor shift where a comparison lacks one. Rewards 1, 0, -2:
    # x = 1 - 0.5 = 0.5, x = 3 - 0 = 3, x = 2 - 4 = -2: 0.47407698 + 0.04858735 + 2.12692801.
    pairs = with_margins((0, 1, "a", 0.5), (0, 2, "a", None), (2, 1, "b", 4.0))
    reward_R = torch.tensor([1.0, 0.0, -2.0], dtype=torch.float64)
    loss = bradley_terry(reward_R, pairs, margin_scale=1.0)
    assert loss.item() == pytest.approx(2.649592347, abs=1e-8)


def test_label_smoothing_is_a_mean_of_both_labels() -> None:
    # Gap 1, e = 0.1: 0.9 * 0.31326169 + 0.1 * 1.31326169 = 0.41326169: e times the gap more.
    pairs = pairs_of((0, 1, "a", 1.0))
    reward_R = torch.tensor([2.0, 1.0], dtype=torch.float64)
    loss = bradley_terry(reward_R, pairs, label_smoothing=0.1)
    assert loss.item() == pytest.approx(0.41326168751822286, abs=1e-12)


def test_label_smoothing_leaves_a_tie_as_it_is() -> None:
    # 0.5 * 0.9 + 0.5 * 0.1 = 0.5.
    reward_R = torch.tensor([2.0, 1.0], dtype=torch.float64)
    tie = pairs_of((0, 1, "tie", 1.0))
    smoothed = bradley_terry(reward_R, tie, label_smoothing=0.1)
    assert smoothed.item() == pytest.approx(0.8132616875182228, abs=1e-12)


def test_label_smoothing_wants_a_finite_gap() -> None:
    # The least loss is where s(g) = 1 - e: g = log(0.9 / 0.1) = 2.19722458; there no gradient.
    reward_R = torch.tensor([math.log(9), 0.0], dtype=torch.float64, requires_grad=True)
    loss = bradley_terry(reward_R, pairs_of((0, 1, "a", 1.0)), label_smoothing=0.1)
    (gradient,) = torch.autograd.grad(loss, reward_R)
    assert gradient.tolist() == pytest.approx([0.0, 0.0], abs=1e-12)


def test_centring_is_the_square_of_the_sum_not_the_sum_of_squares() -> None:
    # T36: rewards 2 and 1: (2 + 1)^2 = 9, and with weight 0.5 for 2 and -2: 0; sum 9.
    # Gradient 2 * 3 = 6 on each of the first pair.
    pairs = pairs_of((0, 1, "a", 1.0), (0, 2, "tie", 0.5))
    reward_R = torch.tensor([2.0, 1.0, -2.0], dtype=torch.float64, requires_grad=True)
    loss = centring(reward_R, pairs)
    (gradient,) = torch.autograd.grad(loss, reward_R)
    assert loss.item() == 9.0
    assert gradient.tolist() == [6.0, 6.0, 0.0]


def test_the_derivatives_are_those_of_the_function() -> None:
    pairs = with_margins((0, 1, "a", 0.5), (2, 1, "b", None), (0, 2, "tie", 1.0))
    reward_R = torch.tensor([0.3, -1.1, 2.0], dtype=torch.float64, requires_grad=True)

    def loss(reward_R: Tensor) -> Tensor:
        smoothed = bradley_terry(reward_R, pairs, margin_scale=0.7, label_smoothing=0.2)
        return smoothed + 0.01 * centring(reward_R, pairs)

    assert torch.autograd.gradcheck(loss, (reward_R,))


def test_no_comparison_is_no_loss() -> None:
    loss, gradient = loss_and_gradient([1.0, 2.0], Pairs.of([]))
    assert loss.item() == 0.0
    assert gradient.tolist() == [0.0, 0.0]


# Extremes


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_huge_gap_has_a_finite_loss_and_gradient(dtype: torch.dtype) -> None:
    # T34: log(1 + exp(1e4)) would overflow; the loss is the gap itself, the gradient 1.
    for gap, expected, slope in ((1e4, 0.0, 0.0), (-1e4, 1e4, -1.0)):
        loss, gradient = loss_and_gradient([gap, 0.0], pairs_of((0, 1, "a", 1.0)), dtype)
        assert loss.item() == expected
        assert gradient.tolist() == [slope, -slope]
    # A tie 1e4 apart: half of 0 and half of 1e4.
    loss, gradient = loss_and_gradient([1e4, 0.0], pairs_of((0, 1, "tie", 1.0)), dtype=dtype)
    assert loss.item() == 5000.0
    assert gradient.tolist() == [0.5, -0.5]


def test_settings_keep_a_huge_gap_finite() -> None:
    # x = -1e4 - 2 = -10002; (1 - 0.25) * 10002 + 0.25 * 0 = 7501.5. Centring: (-1e4 + 0)^2 = 1e8.
    pairs = with_margins((0, 1, "a", 2.0))
    reward_R = torch.tensor([-1e4, 0.0])
    loss = bradley_terry(reward_R, pairs, margin_scale=1.0, label_smoothing=0.25)
    assert loss.item() == 7501.5
    assert centring(reward_R, pairs).item() == 1e8


@pytest.mark.parametrize("narrow", [torch.bfloat16, torch.float16])
def test_narrow_rewards_are_widened_before_they_are_subtracted(narrow: torch.dtype) -> None:
    """T35: the loss is float32, and exactly that of the same rewards in float32."""
    rewards = [20.125, -0.0078125, 3.0, 19.875]  # All of them exact in both dtypes.
    pairs = pairs_of((0, 1, "a", 1.0), (3, 0, "b", 0.3), (2, 1, "tie", 1.0))
    loss, gradient = loss_and_gradient(rewards, pairs, dtype=narrow)
    expected, exact = loss_and_gradient(rewards, pairs, dtype=torch.float32)
    assert loss.dtype == torch.float32
    assert torch.equal(loss, expected)
    assert gradient.dtype == narrow
    assert torch.equal(gradient, exact.to(narrow))


def test_the_dtype_of_wide_rewards_is_kept() -> None:
    pairs = pairs_of((0, 1, "a", 1.0))
    assert bradley_terry(torch.tensor([1.0, 2.0]), pairs).dtype == torch.float32
    assert bradley_terry(torch.tensor([1.0, 2.0]).double(), pairs).dtype == torch.float64


# Properties

REWARDS = st.lists(st.floats(-30, 30), min_size=2, max_size=8)


@st.composite
def compared(draw: st.DrawFn) -> tuple[list[float], list[tuple[int, int, Outcome, float]]]:
    rewards = draw(REWARDS)
    place = st.integers(0, len(rewards) - 1)
    outcome: st.SearchStrategy[Outcome] = st.sampled_from(["a", "b", "tie"])
    comparison = st.tuples(place, place, outcome, st.floats(0, 5))
    return rewards, draw(st.lists(comparison, min_size=1, max_size=12))


@settings(deadline=None)
@given(compared())
def test_the_loss_is_a_plain_loop_over_comparisons(
    case: tuple[list[float], list[tuple[int, int, Outcome, float]]],
) -> None:
    """T33: no broadcasting between comparisons, and each weight meets its own."""
    rewards, comparisons = case
    expected = 0.0
    for a, b, outcome, weight in comparisons:
        a_wins = math.log1p(math.exp(rewards[b] - rewards[a]))
        b_wins = math.log1p(math.exp(rewards[a] - rewards[b]))
        expected += weight * {"a": a_wins, "b": b_wins, "tie": (a_wins + b_wins) / 2}[outcome]
    loss, _ = loss_and_gradient(rewards, pairs_of(*comparisons), torch.float64)
    # Each term is at most 5 * 60 and rounds some eps of itself; 12 terms: 12 * 300 * 1e-15.
    assert loss.item() == pytest.approx(expected, rel=1e-12, abs=1e-11)


@settings(deadline=None)
@given(compared(), st.integers(0, 12))
def test_cutting_a_step_into_passes_changes_nothing(
    case: tuple[list[float], list[tuple[int, int, Outcome, float]]], cut: int
) -> None:
    # T37: sums add up, so that one division by the units of the step is right for every cut.
    rewards, comparisons = case
    whole = loss_and_gradient(rewards, pairs_of(*comparisons), torch.float64)
    parts = [
        loss_and_gradient(rewards, pairs_of(*part), torch.float64)
        for part in (comparisons[:cut], comparisons[cut:])
    ]
    loss = parts[0][0] + parts[1][0]
    gradient = parts[0][1] + parts[1][1]
    torch.testing.assert_close(loss, whole[0], rtol=1e-12, atol=1e-11)
    torch.testing.assert_close(gradient, whole[1], rtol=1e-12, atol=1e-12)


@settings(deadline=None)
@given(compared(), st.floats(-50, 50))
def test_only_gaps_matter(
    case: tuple[list[float], list[tuple[int, int, Outcome, float]]], shift: float
) -> None:
    rewards, comparisons = case
    pairs = pairs_of(*comparisons)
    loss, gradient = loss_and_gradient(rewards, pairs, torch.float64)
    moved, _ = loss_and_gradient([reward + shift for reward in rewards], pairs, torch.float64)
    # Rewards up to 80 are rounded at 80 * 1e-16; 12 comparisons of weight 5: 12 * 5 * 2e-14.
    assert moved.item() == pytest.approx(loss.item(), rel=1e-12, abs=1e-11)
    assert gradient.sum().item() == pytest.approx(0, abs=1e-12)
