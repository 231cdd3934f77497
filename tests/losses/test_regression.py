"""Regression on ratings: hand values, missing ratings, and what the data must hold."""

from __future__ import annotations

import pytest
import torch
from encoded import encoded
from torch import Tensor

from assay.config import LossConfig
from assay.errors import DataError
from assay.losses import Ratings, objective_of, squared_error
from assay.losses.regression import squared_errors

TWO = LossConfig(kind="regression", attributes={"good": 3.0, "long": -1.0})


def test_squared_errors_by_hand() -> None:
    # Heads give (1, 2) and (0, -1). Ratings: good 3 of the first, long 1 of both with weight 0.5:
    # (1 - 3)^2 = 4; 0.5 * (2 - 1)^2 = 0.5; 0.5 * (-1 - 1)^2 = 2. The rating of good that the
    # second lacks costs nothing. Sum 6.5; by head 4 and 2.5.
    value_RM = torch.tensor([[1.0, 2.0], [0.0, -1.0]], dtype=torch.float64, requires_grad=True)
    ratings = Ratings.of([(0, 0, 3.0, 1.0), (0, 1, 1.0, 0.5), (1, 1, 1.0, 0.5)])
    loss = squared_error(value_RM, ratings)
    (gradient,) = torch.autograd.grad(loss, value_RM)
    assert loss.item() == 6.5
    assert squared_errors(value_RM, ratings, 2).tolist() == [4.0, 2.5]
    # Gradients 2 * weight * error: -4; 1; 0; -2.
    assert gradient.tolist() == [[-4.0, 1.0], [0.0, -2.0]]


def test_a_huge_value_is_finite_and_narrow_ones_are_widened() -> None:
    ratings = Ratings.of([(0, 0, 0.0, 1.0)])
    assert squared_error(torch.tensor([[1e4]]), ratings).item() == 1e8
    # bfloat16 has 1e4 as 9984; its square is exact in float32 only.
    assert squared_error(torch.tensor([[1e4]]).bfloat16(), ratings).item() == 9984.0**2


def test_the_derivatives_are_those_of_the_function() -> None:
    ratings = Ratings.of([(0, 0, 3.0, 1.0), (1, 1, 1.0, 0.5), (0, 0, 2.0, 2.0)])
    value_RM = torch.tensor([[1.0, 2.0], [0.5, -1.0]], dtype=torch.float64, requires_grad=True)

    def loss(value_RM: Tensor) -> Tensor:
        return squared_error(value_RM, ratings)

    assert torch.autograd.gradcheck(loss, (value_RM,))


def test_no_rating_is_no_loss() -> None:
    assert squared_error(torch.ones(2, 2), Ratings.of([])).item() == 0.0


def test_the_objective_meets_each_rating_of_each_group() -> None:
    # T37. Group 1 of weight 2: good 1, long 4; then good 0. Group 2: long 2 of its second answer.
    first = encoded(
        [[1], [2]], ratings=[{"good": 1.0, "long": 4.0, "other": 9.0}, {"good": 0.0}], weight=2.0
    )
    second = encoded([[3], [4]], ratings=[{}, {"long": 2.0}])
    objective = objective_of(TWO, 0)
    assert [objective.units(group) for group in (first, second)] == [6.0, 1.0]
    value_RM = torch.zeros(4, 2, dtype=torch.float64)
    # 2 * (1 + 16 + 0) + 4 = 38.
    assert objective.loss_of([first, second]).sum_of(value_RM).item() == 38.0
    parts = objective.parts(value_RM, [first, second])
    assert parts == {"squared_error/good": (2.0, 4.0), "squared_error/long": (36.0, 3.0)}


def test_by_prompt_each_group_counts_once() -> None:
    group = encoded([[1], [2]], ratings=[{"good": 1.0, "long": 4.0}, {"good": 0.0}])
    by_prompt = objective_of(TWO.model_copy(update={"weight_by": "prompt"}), 0)
    assert by_prompt.units(group) == pytest.approx(1.0)


def test_heads_take_the_mean_ratings_as_offsets() -> None:
    groups = [
        encoded([[1], [2]], ratings=[{"good": 1.0, "long": 4.0}, {"good": 0.0}]),
        encoded([[1], [2]], ratings=[{"good": 5.0}, {"long": 2.0}]),
    ]
    members = objective_of(TWO, 0).prepare(groups)
    assert members == (("good", 3.0, 2.0), ("long", -1.0, 3.0))


def test_an_attribute_that_nobody_rates_is_named() -> None:
    groups = [encoded([[1], [2]], ratings=[{"good": 1.0, "depth": 4.0}])]
    with pytest.raises(DataError, match="no response is rated by long; the ratings are: depth"):
        objective_of(TWO, 0).prepare(groups)


def test_a_group_without_ratings_is_named() -> None:
    good = encoded([[1]], ratings=[{"good": 1.0, "long": 1.0}])
    with pytest.raises(DataError, match="only by depth") as caught:
        objective_of(TWO, 0).prepare([good, encoded([[1]], ratings=[{"depth": 1.0}], line=8)])
    assert "rows.jsonl:8" in str(caught.value)
