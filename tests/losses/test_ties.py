"""Rao-Kupper and Davidson: hand values, and that they are probabilities of three outcomes."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from assay.data.records import Comparison, Outcome
from assay.losses import Pairs, bradley_terry, davidson, rao_kupper

MODELS = {"rao_kupper": rao_kupper, "davidson": davidson}
every_model = pytest.mark.parametrize("name", MODELS)


def pairs_of(*outcomes: Outcome) -> Pairs:
    """The first response against the second, once for each outcome, weight 1."""
    return Pairs.of((0, Comparison(0, 1, outcome), 1.0) for outcome in outcomes)


def cost(name: str, gap: float, outcome: Outcome, tie_probability: float) -> float:
    reward_R = torch.tensor([gap, 0.0], dtype=torch.float64)
    return MODELS[name](reward_R, pairs_of(outcome), tie_probability=tie_probability).item()


def test_rao_kupper_by_hand() -> None:
    # p = 1/2: theta = 1.5 / 0.5 = 3, h = log 3. Strengths e^g = 3 and 1, g = log 3 = 1.09861229:
    # P(a) = 3 / (3 + 3 * 1) = 1/2, P(b) = 1 / (1 + 3 * 3) = 1/10, P(tie) = 1 - 0.6 = 4/10.
    for outcome, probability in (("a", 0.5), ("b", 0.1), ("tie", 0.4)):
        found = cost("rao_kupper", math.log(3), outcome, 0.5)  # type: ignore[arg-type]
        assert found == pytest.approx(-math.log(probability), abs=1e-12)


def test_davidson_by_hand() -> None:
    # p = 1/2: nu = 1 / 0.5 = 2. Strengths 4 and 1, g = log 4: the parts are 4, 1 and
    # 2 * sqrt(4 * 1) = 4; P(a) = 4/9, P(b) = 1/9, P(tie) = 4/9.
    for outcome, probability in (("a", 4 / 9), ("b", 1 / 9), ("tie", 4 / 9)):
        found = cost("davidson", math.log(4), outcome, 0.5)  # type: ignore[arg-type]
        assert found == pytest.approx(-math.log(probability), abs=1e-12)


@every_model
def test_the_number_is_the_probability_of_a_tie_between_equals(name: str) -> None:
    for probability in (0.01, 0.3, 0.9):
        assert math.exp(-cost(name, 0.0, "tie", probability)) == pytest.approx(probability)


@every_model
@settings(deadline=None)
@given(st.floats(-30, 30), st.floats(0.01, 0.99))
def test_the_three_outcomes_are_all_there_are(name: str, gap: float, probability: float) -> None:
    outcomes: tuple[Outcome, ...] = ("a", "b", "tie")
    found = [math.exp(-cost(name, gap, outcome, probability)) for outcome in outcomes]
    assert sum(found) == pytest.approx(1, abs=1e-12)


@every_model
def test_hardly_any_tie_is_bradley_terry(name: str) -> None:
    for gap in (-2.0, 0.5, 3.0):
        reward_R = torch.tensor([gap, 0.0], dtype=torch.float64)
        plain = bradley_terry(reward_R, pairs_of("a")).item()
        assert cost(name, gap, "a", 1e-9) == pytest.approx(plain, abs=1e-7)


@every_model
def test_a_sum_of_weighted_comparisons(name: str) -> None:
    weighted = Pairs.of([(0, Comparison(0, 1, "a"), 0.5), (0, Comparison(1, 0, "tie"), 2.0)])
    reward_R = torch.tensor([0.7, 0.0], dtype=torch.float64)
    loss = MODELS[name](reward_R, weighted, tie_probability=0.2).item()
    parts = 0.5 * cost(name, 0.7, "a", 0.2) + 2 * cost(name, 0.7, "tie", 0.2)
    assert loss == pytest.approx(parts, abs=1e-12)


@every_model
def test_a_tie_pulls_together_and_a_win_apart(name: str) -> None:
    reward_R = torch.tensor([1.0, 0.0], dtype=torch.float64, requires_grad=True)
    for outcome, sign in (("tie", 1), ("a", -1)):
        loss = MODELS[name](reward_R, pairs_of(outcome), tie_probability=0.3)  # type: ignore[arg-type]
        (gradient,) = torch.autograd.grad(loss, reward_R)
        assert sign * gradient[0] > 0
        assert gradient.sum().item() == pytest.approx(0, abs=1e-12)


@every_model
@pytest.mark.parametrize("gap", [1e4, -1e4])
def test_a_huge_gap_has_a_finite_loss_and_gradient(name: str, gap: float) -> None:
    # T34. Davidson's tie is as strong as the root of both: half of the gap; Rao-Kupper's needs
    # both not to be seen: the whole gap.
    reward_R = torch.tensor([gap, 0.0], requires_grad=True)
    for outcome in ("a", "b", "tie"):
        loss = MODELS[name](reward_R, pairs_of(outcome), tie_probability=0.5)  # type: ignore[arg-type]
        (gradient,) = torch.autograd.grad(loss, reward_R)
        assert loss.dtype == torch.float32
        assert torch.isfinite(loss)
        assert torch.isfinite(gradient).all()
    tied = MODELS[name](reward_R, pairs_of("tie"), tie_probability=0.5).item()
    assert tied == pytest.approx(1e4 if name == "rao_kupper" else 5e3, rel=1e-3)


@every_model
def test_the_derivatives_are_those_of_the_function(name: str) -> None:
    pairs = Pairs.of(
        [
            (0, Comparison(0, 1, "a"), 1.0),
            (0, Comparison(1, 2, "tie"), 0.5),
            (0, Comparison(0, 2, "b"), 2.0),
        ]
    )
    reward_R = torch.tensor([0.3, -1.1, 2.0], dtype=torch.float64, requires_grad=True)

    def loss(reward_R: Tensor) -> Tensor:
        return MODELS[name](reward_R, pairs, tie_probability=0.25)

    assert torch.autograd.gradcheck(loss, (reward_R,))
