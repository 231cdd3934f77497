"""Plackett-Luce over rankings: hand values, both models of ties, and where rankings come from."""

from __future__ import annotations

import math
from itertools import permutations

import pytest
import torch
from encoded import encoded
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from assay.config import LossConfig
from assay.data.records import Comparison, Outcome, Ranking
from assay.errors import DataError
from assay.losses import Pairs, Stages, bradley_terry, objective_of, plackett_luce
from assay.losses.plackett_luce import TieModel
from assay.losses.ranking import rankings_of

BOTH: tuple[TieModel, ...] = ("breslow", "orders")
every_model = pytest.mark.parametrize("ties", BOTH)


def cost(
    rewards: list[float], *rankings: Ranking, ties: TieModel = "breslow", weight: float = 1.0
) -> float:
    stages = Stages.of([(0, ranking, weight) for ranking in rankings], ties)
    return plackett_luce(torch.tensor(rewards, dtype=torch.float64), stages).item()


def logs(*strengths: float) -> list[float]:
    return [math.log(strength) for strength in strengths]


# Hand values


@every_model
def test_three_in_a_row_by_hand(ties: TieModel) -> None:
    # Strengths 4, 2, 1, ranked so: 4/7 * 2/3 * 1/1 = 8/21. Turned round: 1/7 * 2/6 = 1/21.
    assert cost(logs(4, 2, 1), ((0,), (1,), (2,)), ties=ties) == pytest.approx(-math.log(8 / 21))
    assert cost(logs(4, 2, 1), ((2,), (1,), (0,)), ties=ties) == pytest.approx(-math.log(1 / 21))


def test_breslow_by_hand() -> None:
    # Strengths 4, 2, 1; the first two equal: both from all three, 4/7 * 2/7, then 1/1: 8/49.
    assert cost(logs(4, 2, 1), ((0, 1), (2,))) == pytest.approx(-math.log(8 / 49))
    # The last two equal: 4/7, then both of the two, 2/3 * 1/3: 8/63.
    assert cost(logs(4, 2, 1), ((0,), (1, 2))) == pytest.approx(-math.log(8 / 63))


def test_the_mean_of_orders_by_hand() -> None:
    # Strengths 4, 2, 1; the first two equal: 4/7 * 2/3 = 8/21 and 2/7 * 4/5 = 8/35, mean
    # (40 + 24) / 105 / 2 = 32/105. The last two equal: 4/7 * (2/3 + 1/3) / 2 = 2/7.
    assert cost(logs(4, 2, 1), ((0, 1), (2,)), ties="orders") == pytest.approx(-math.log(32 / 105))
    assert cost(logs(4, 2, 1), ((0,), (1, 2)), ties="orders") == pytest.approx(-math.log(2 / 7))


@settings(deadline=None)
@given(st.lists(st.floats(-5, 5), min_size=4, max_size=4), st.permutations(range(4)))
def test_the_mean_of_orders_is_the_mean_over_whole_rankings(
    rewards: list[float], order: list[int]
) -> None:
    first, tied = order[0], order[1:]
    whole = [
        math.exp(-cost(rewards, ((first,), *((one,) for one in rest))))
        for rest in permutations(tied)
    ]
    found = cost(rewards, ((first,), tuple(tied)), ties="orders")
    assert math.exp(-found) == pytest.approx(sum(whole) / 6, rel=1e-9)


@every_model
def test_a_sum_of_weighted_rankings_over_groups(ties: TieModel) -> None:
    rewards = torch.tensor(logs(4, 2, 1, 5, 3), dtype=torch.float64)
    rankings = [(0, ((0,), (1,), (2,)), 0.5), (3, ((1,), (0,)), 2.0)]
    # -0.5 log(8/21) - 2 log(3 / (3 + 5)).
    expected = -0.5 * math.log(8 / 21) - 2 * math.log(3 / 8)
    assert plackett_luce(rewards, Stages.of(rankings, ties)).item() == pytest.approx(expected)


# Properties


@every_model
@settings(deadline=None)
@given(st.lists(st.floats(-20, 20), min_size=3, max_size=3))
def test_all_rankings_together_are_certain(ties: TieModel, rewards: list[float]) -> None:
    every = [tuple((one,) for one in order) for order in permutations(range(3))]
    total = sum(math.exp(-cost(rewards, ranking, ties=ties)) for ranking in every)
    assert total == pytest.approx(1, abs=1e-12)


@every_model
def test_of_two_responses_it_is_bradley_terry(ties: TieModel) -> None:
    pairs = Pairs.of([(0, Comparison(0, 1, "b"), 1.0)])
    rewards = [0.3, -1.2]
    plain = bradley_terry(torch.tensor(rewards, dtype=torch.float64), pairs).item()
    assert cost(rewards, ((1,), (0,)), ties=ties) == pytest.approx(plain, abs=1e-12)


def test_of_two_equal_ones_breslow_is_two_ties_of_bradley_terry_and_orders_say_nothing() -> None:
    pairs = Pairs.of([(0, Comparison(0, 1, "tie"), 2.0)])
    rewards = [0.3, -1.2]
    plain = bradley_terry(torch.tensor(rewards, dtype=torch.float64), pairs).item()
    assert cost(rewards, ((0, 1),)) == pytest.approx(plain, abs=1e-12)
    assert cost(rewards, ((0, 1),), ties="orders") == pytest.approx(math.log(2), abs=1e-12)


@every_model
@pytest.mark.parametrize("rewards", [[1e4, 0.0, -1e4], [-1e4, 0.0, 1e4], [0.0, 1e4, 1e4]])
def test_a_huge_gap_has_a_finite_loss_and_gradient(ties: TieModel, rewards: list[float]) -> None:
    reward_R = torch.tensor(rewards, requires_grad=True)
    rankings: list[tuple[int, Ranking, float]] = [
        (0, ((0,), (1,), (2,)), 1.0),
        (0, ((0, 1), (2,)), 1.0),
        (0, ((2,), (0, 1)), 1.0),
    ]
    loss = plackett_luce(reward_R, Stages.of(rankings, ties))
    (gradient,) = torch.autograd.grad(loss, reward_R)
    assert loss.dtype == torch.float32
    assert torch.isfinite(loss)
    assert torch.isfinite(gradient).all()


def test_the_loss_of_a_huge_gap_is_the_gap() -> None:
    # Ranked against rewards 1e4 apart: 2e4 for the first choice, 1e4 for the second.
    assert cost([-1e4, 0.0, 1e4], ((0,), (1,), (2,))) == 3e4


@every_model
def test_the_derivatives_are_those_of_the_function(ties: TieModel) -> None:
    rankings: list[tuple[int, Ranking, float]] = [
        (0, ((1,), (0, 2), (3,)), 1.0),
        (0, ((3,), (0,)), 0.3),
    ]
    stages = Stages.of(rankings, ties)
    reward_R = torch.tensor([0.3, -1.1, 2.0, 0.1], dtype=torch.float64, requires_grad=True)

    def loss(reward_R: Tensor) -> Tensor:
        return plackett_luce(reward_R, stages)

    assert torch.autograd.gradcheck(loss, (reward_R,))


def test_narrow_rewards_are_widened() -> None:
    stages = Stages.of([(0, ((0,), (1,)), 1.0)], "breslow")
    assert plackett_luce(torch.tensor([1.0, 2.0]).bfloat16(), stages).dtype == torch.float32


def test_an_empty_rank_is_nothing() -> None:
    assert cost(logs(4, 2), ((0,), (), (1,))) == pytest.approx(-math.log(4 / 6))


def test_no_ranking_is_no_loss() -> None:
    reward_R = torch.tensor([1.0, 2.0], requires_grad=True)
    loss = plackett_luce(reward_R, Stages.of([], "breslow"))
    (gradient,) = torch.autograd.grad(loss, reward_R)
    assert (loss.item(), gradient.tolist()) == (0.0, [0.0, 0.0])


def test_too_many_of_one_rank_have_too_many_orders() -> None:
    with pytest.raises(ValueError, match="5 responses of equal rank"):
        Stages.of([(0, ((0, 1, 2, 3, 4),), 1.0)], "orders")


# Where rankings come from

WON: dict[tuple[int, int], Outcome] = {(0, 1): "a", (0, 2): "b", (1, 2): "b"}


def compared(outcomes: dict[tuple[int, int], Outcome]) -> list[Comparison]:
    return [Comparison(a, b, outcome) for (a, b), outcome in outcomes.items()]


def test_stated_rankings_are_taken_as_they_are() -> None:
    ranking: Ranking = ((1,), (0, 2))
    group = encoded([[1], [2], [3]], compared(WON), rankings=(ranking,))
    assert rankings_of(group) == (ranking,)


def test_complete_comparisons_are_a_ranking() -> None:
    assert rankings_of(encoded([[1], [2], [3]], compared(WON))) == (((2,), (0,), (1,)),)
    turned = [Comparison(1, 0, "b"), Comparison(2, 0, "a"), Comparison(2, 1, "a")]
    assert rankings_of(encoded([[1], [2], [3]], turned)) == (((2,), (0,), (1,)),)


def test_ties_of_complete_comparisons_are_equal_ranks() -> None:
    outcomes: dict[tuple[int, int], Outcome] = {(0, 1): "tie", (0, 2): "b", (1, 2): "b"}
    assert rankings_of(encoded([[1], [2], [3]], compared(outcomes))) == (((2,), (0, 1)),)


@pytest.mark.parametrize(
    ("comparisons", "why"),
    [
        ({(0, 1): "a", (1, 2): "a"}, "not every two"),
        ({(0, 1): "a", (1, 2): "a", (0, 2): "b"}, "circle"),
        # a beats b, and both are as good as c: no order has this.
        ({(0, 1): "a", (1, 2): "tie", (0, 2): "tie"}, "circle"),
    ],
)
def test_a_ranking_is_never_guessed(comparisons: dict[tuple[int, int], Outcome], why: str) -> None:
    group = encoded([[1], [2], [3]], compared(comparisons), line=7)
    with pytest.raises(DataError, match=why) as caught:
        rankings_of(group)
    assert "rows.jsonl:7" in str(caught.value)


def test_contradicting_comparisons_are_no_ranking() -> None:
    group = encoded([[1], [2]], [Comparison(0, 1, "a"), Comparison(1, 0, "a")])
    with pytest.raises(DataError, match="contradict"):
        rankings_of(group)


def test_a_ranking_of_comparisons_has_their_weight() -> None:
    """Of two responses it is the Bradley-Terry loss, weights and all."""
    config = LossConfig(kind="plackett_luce")
    group = encoded([[1], [2]], [Comparison(0, 1, "b", weight=0.25)], weight=2.0)
    found = objective_of(config, 0)
    plain = objective_of(LossConfig(), 0)
    reward_R = torch.tensor([0.3, -1.2], dtype=torch.float64)
    assert found.units(group) == plain.units(group) == 0.5
    assert found.loss_of([group]).sum_of(reward_R).item() == pytest.approx(
        plain.loss_of([group]).sum_of(reward_R).item(), abs=1e-12
    )
    mixed = [Comparison(a, b, "a", weight=1.0 + a) for a, b in WON]
    with pytest.raises(DataError, match="different weights"):
        found.prepare([encoded([[1], [2], [3]], mixed)])


@settings(deadline=None)
@given(st.lists(st.integers(0, 3), min_size=2, max_size=6))
def test_comparisons_of_a_ranking_give_it_back(ranks: list[int]) -> None:
    comparisons = [
        Comparison(a, b, "tie" if ranks[a] == ranks[b] else "a" if ranks[a] < ranks[b] else "b")
        for a in range(len(ranks))
        for b in range(a)
    ]
    (found,) = rankings_of(encoded([[n] for n in range(len(ranks))], comparisons))
    places = {index: place for place, rank in enumerate(found) for index in rank}
    order = sorted(set(ranks))
    assert [places[index] for index in range(len(ranks))] == [order.index(r) for r in ranks]


# The objective


def test_units_are_weights_of_rankings_that_say_something() -> None:
    several: tuple[Ranking, ...] = (((0,), (1,)), ((1,), (0,)), ((0, 1),), ((0,),))
    group = encoded([[1], [2]], rankings=several, weight=3.0)

    def units(ties: TieModel, weight_by: str) -> float:
        config = LossConfig(kind="plackett_luce", ranking_ties=ties, weight_by=weight_by)  # type: ignore[arg-type]
        return objective_of(config, 0).units(group)

    # A ranking of one response says nothing; one of equals only to Breslow.
    assert units("breslow", "comparison") == 9.0
    assert units("orders", "comparison") == 6.0
    assert units("breslow", "prompt") == pytest.approx(3.0)


def test_what_cannot_be_trained_on_is_named_before_training() -> None:
    config = LossConfig(kind="plackett_luce", ranking_ties="orders")
    five = encoded([[n] for n in range(6)], rankings=(((0, 1, 2, 3, 4), (5,)),), line=3)
    good = encoded([[1], [2]], rankings=(((0,), (1,)),))
    with pytest.raises(DataError, match="5 responses have one rank") as caught:
        objective_of(config, 0).prepare([good, five])
    assert "rows.jsonl:3" in str(caught.value)
    incomplete = encoded([[1], [2], [3]], [Comparison(0, 1, "a"), Comparison(1, 2, "a")])
    with pytest.raises(DataError, match="not every two"):
        objective_of(config, 0).prepare([good, incomplete])
    assert objective_of(config, 0).prepare([good]) is None
