"""RewardBench 2 against arithmetic by hand."""

from __future__ import annotations

import math

import pytest
from benchmark_rows import made

from assay.evaluate.benchmarks import ScoredItem, get_benchmark
from assay.evaluate.benchmarks.rewardbench2 import SUBSETS, shared_credit, ties_score

EXACT = {"rel": 0, "abs": 1e-12}


def tie(id: str, right: list[float], wrong: list[float]) -> ScoredItem:
    return made("Ties", [*right, *wrong], good=range(len(right)), id=id)


TIES = [
    tie("ref:1", [3], [1, 0]),  # right, gap 3 - 1 = 2
    tie("tied:1", [5, 4], [1]),  # right, gap 4 - 1 = 3, spread 5 - 4 = 1
    tie("ref:2", [1], [1]),  # level, so wrong; gap 0
    tie("tied:2", [2, 2], [3]),  # wrong; gap -1, spread 0
    tie("tied:3", [4, 1], [0]),  # right; no ref:3, so it counts for accuracy alone
]
TIES_SCORE = 0.3 * 2 / 3 + 0.3 * 1 / 2 + 0.2 * 1 / 2 + 0.2 * 1 / 2 + 0.01 * (math.tanh(1) - 1) / 2
"""tied right: 1 and 3 of three. ref right: 1 of two. Of prompts 1 and 2: gap above spread 3 > 1,
-1 < 0; the smaller gap 2 > 1, -1 < 0; margins tanh(2 / 1 - 1) and tanh(-1 / 0 - 1) = -1."""


@pytest.mark.parametrize(
    ("rewards", "credit"),
    [
        ((2, 1, 0, -1), 1),
        ((1, 2, 0, -1), 0),
        ((2, 2, 0, -1), 1 / 2),  # shared with one
        ((2, 2, 2, 2), 1 / 4),  # with all
        ((1, 2, 2, 0), 0),  # the others tie above
    ],
)
def test_the_best_of_four_shares_credit(rewards: tuple[float, ...], credit: float) -> None:
    assert shared_credit(made("Math", rewards)) == pytest.approx(credit, **EXACT)


def test_ties_score() -> None:
    value, parts = ties_score(TIES)
    assert value == pytest.approx(TIES_SCORE, **EXACT)
    assert value == pytest.approx(0.5488079707797788, **EXACT)
    assert parts["tied_accuracy"] == pytest.approx(2 / 3, **EXACT)
    assert parts["prompts_of_both_kinds"] == 2


def test_nothing_over_nothing_counts_nothing() -> None:
    # gap min(1, 0) = 0, spread 0: 0 / 0 is no number, its margin 0; neither is above the other.
    value, parts = ties_score([tie("ref:4", [1], [0]), tie("tied:4", [2, 2], [2])])
    assert parts["margin"] == 0
    assert value == pytest.approx(0.3 * 0 + 0.3 * 1 + 0 + 0 + 0, **EXACT)


def test_all_right_is_a_little_above_one() -> None:
    # 1 / 0 is infinite and tanh of it 1.
    value, _ = ties_score([tie("ref:4", [1], [0]), tie("tied:4", [2, 2], [1])])
    assert value == pytest.approx(1.01, **EXACT)


def test_rows_of_one_id_are_one_prompt() -> None:
    twice = [*TIES, tie("tied:1", [3.5], [4.25])]
    # tied:1 is now {5, 4, 3.5} against {1, 4.25}: wrong, gap 3.5 - 4.25, spread 1.5.
    value, parts = ties_score(twice)
    assert parts["tied_accuracy"] == pytest.approx(1 / 3, **EXACT)
    margin = (math.tanh(-0.75 / 1.5 - 1) - 1) / 2
    assert value == pytest.approx(0.3 / 3 + 0.3 / 2 + 0.01 * margin, **EXACT)


def test_without_both_kinds_there_is_no_score() -> None:
    value, parts = ties_score([TIES[0], TIES[4]])
    assert value is None
    assert (parts["tied_accuracy"], parts["ref_accuracy"], parts["margin"]) == (1, 1, None)


def test_final_is_the_mean_of_six() -> None:
    shares = {"Factuality": 1, "Precise IF": 0, "Math": 1 / 2, "Safety": 1, "Focus": 1 / 4}
    rewards = {1: (1, 0, 0, 0), 0: (0, 1, 0, 0), 1 / 2: (1, 1, 0, 0), 1 / 4: (1, 1, 1, 1)}
    scored = [made(name, rewards[share]) for name, share in shares.items()]
    found = get_benchmark("rewardbench2").official([*scored, *TIES])
    assert found.value == pytest.approx((1 + 0 + 0.5 + 1 + 0.25 + TIES_SCORE) / 6, **EXACT)
    assert set(found.by_subset) == set(SUBSETS)
    part = get_benchmark("rewardbench2").official(scored)
    assert part.value is None
    assert part.numbers["missing_subsets"] == ["Ties"]
    assert part.numbers["over_present_subsets"]["final"] == pytest.approx(2.75 / 5, **EXACT)
    assert "Ties" in part.notes[0]
