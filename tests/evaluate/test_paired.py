"""Two models on the same comparisons, and policies at equal lengths: by hand and by simulation."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats
from scipy.special import expit

from assay.evaluate.length_control import RIDGE, length_controlled
from assay.evaluate.paired import bootstrap_interval, difference, mcnemar


def test_difference_by_hand() -> None:
    first, second = np.array([1.0, 1, 0, 0, 1]), np.array([1.0, 0, 1, 1, 1])
    found = difference(first, second, np.array([0, 0, 1, 1, 2]))
    assert found.value == pytest.approx(1 / 5, abs=1e-12)
    assert (found.gained, found.lost) == (2, 1)
    assert found.interval[0] <= found.value <= found.interval[1]
    # Three flips, two of one direction: P(at most 1 or at least 2 of 3) = 1.
    assert found.mcnemar_p == pytest.approx(1.0, abs=1e-12)


def test_mcnemar_by_hand() -> None:
    # 0 of 6 flips in one direction: 2 / 2^6.
    assert mcnemar(6, 0) == mcnemar(0, 6) == pytest.approx(2 / 64, abs=1e-12)
    # 1 of 5: 2 * (1 + 5) / 32.
    assert mcnemar(1, 4) == pytest.approx(12 / 32, abs=1e-12)
    assert mcnemar(0, 0) == 1.0


def test_swapping_the_models_turns_the_difference() -> None:
    chance = np.random.default_rng(2)
    first, second = (chance.random((2, 300)) < 0.7).astype(float)
    cluster = np.arange(300) // 3
    there, back = difference(first, second, cluster), difference(second, first, cluster)
    assert there.value == -back.value
    assert (there.gained, there.lost) == (back.lost, back.gained)
    assert there.mcnemar_p == back.mcnemar_p


def test_drawing_kinds_of_prompts_is_drawing_prompts() -> None:
    """The plain bootstrap, prompt by prompt, has the same interval but for its own chance."""
    chance = np.random.default_rng(5)
    change = chance.choice([-1.0, 0, 0, 0, 1, 1], 240)
    cluster = np.arange(240) // 3
    sums = change.reshape(-1, 3).sum(1)
    means = sums[chance.integers(0, 80, (20_000, 80))].sum(1) / 240
    assert bootstrap_interval(change, cluster) == pytest.approx(
        np.quantile(means, [0.025, 0.975]), abs=0.006
    )


def test_comparisons_of_one_prompt_do_not_count_as_independent() -> None:
    change = np.repeat(np.random.default_rng(4).choice([-1.0, 0, 1], 60), 10)
    widths = [
        np.ptp(bootstrap_interval(change, cluster))
        for cluster in (np.arange(600) // 10, np.arange(600))
    ]
    assert widths[0] / widths[1] == pytest.approx(np.sqrt(10), rel=0.1)


def test_no_flip_leaves_room_for_some() -> None:
    # 1 - 0.025^(1/50) = 0.0711.
    end = 1 - 0.025 ** (1 / 50)
    assert bootstrap_interval(np.zeros(100), np.arange(100) // 2) == (-end, end)
    assert bootstrap_interval(np.ones(3), np.zeros(3, dtype=int)) == (-1.0, 1.0)


@pytest.mark.parametrize(
    ("change", "low", "high"),
    [
        # Three prompts, 1 - 0.025^(1/3) = 0.70760 of all may be otherwise.
        ([1.0] * 6, 1 - 2 * 0.7075980, 1.0),
        ([-1.0] * 6, -1.0, -1 + 2 * 0.7075980),
        # Each prompt has one that was gained and one that was lost.
        ([1.0, -1.0] * 3, -0.7075980, 0.7075980),
        ([1.0, 0.0] * 3, 0.5 - 0.7075980 * 1.5, 0.5 + 0.7075980 * 0.5),
    ],
)
def test_prompts_that_all_change_alike_are_not_certain(
    change: list[float], low: float, high: float
) -> None:
    found = bootstrap_interval(np.array(change), np.arange(6) // 2)
    assert found == pytest.approx((low, high), abs=1e-6)


def test_the_paired_interval_covers_the_truth() -> None:
    """160 prompts of 3 comparisons, correlated, true difference 0.04: 400 draws know 1.1 points."""
    chance = np.random.default_rng(11)
    covered = 0
    for draw in range(400):
        ease = chance.normal(0, 0.8, (160, 1))
        first, second = (
            (ease + chance.normal(size=(160, 3)) > cut).astype(float).ravel()
            for cut in (-1.0, -1.2)
        )
        scale = np.sqrt(1 + 0.8**2)
        truth = stats.norm.cdf(1.2 / scale) - stats.norm.cdf(1.0 / scale)
        low, high = bootstrap_interval(
            second - first, np.arange(480) // 3, seed=draw, resamples=1000
        )
        covered += low <= truth <= high
    assert 0.91 <= covered / 400 <= 0.98


# Win rates at equal lengths


def test_two_lengths_by_hand() -> None:
    """d is -1 or 1, so s = 1 and tanh(d / s) = -t or t: two shares, two unknowns.

    Without the ridge a + b t = logit(0.8) and a - b t = logit(0.4). With many prompts it hardly
    matters: sigmoid(a) = sigmoid((logit 0.8 + logit 0.4) / 2) = sigmoid(0.490415) = 0.620204.
    """
    longer = np.repeat([1.0, -1.0], 50_000)
    win = np.concatenate(
        [np.repeat([1.0, 0.0], [40_000, 10_000]), np.repeat([1.0, 0], [20_000, 30_000])]
    )
    found = length_controlled(win, longer)
    middle = (np.log(4) + np.log(2 / 3)) / 2
    assert found.value == pytest.approx(expit(middle), abs=1e-4)
    assert found.slope == pytest.approx((np.log(4) - np.log(2 / 3)) / 2 / np.tanh(1), abs=1e-3)
    assert found.interval is not None
    assert found.interval[0] < expit(middle) < found.interval[1]


def test_it_is_the_maximum_of_the_penalised_likelihood() -> None:
    chance = np.random.default_rng(3)
    longer = chance.normal(20, 80, 60)
    win = chance.choice([0.0, 0.5, 1.0], 60)
    found = length_controlled(win, longer)
    assert found.value is not None
    assert found.slope is not None
    x = np.tanh(longer / np.sqrt((longer**2).mean()))
    share = expit(np.log(found.value / (1 - found.value)) + found.slope * x)
    assert (win - share).sum() == pytest.approx(0, abs=1e-9)
    assert ((win - share) * x).sum() - RIDGE * found.slope == pytest.approx(0, abs=1e-9)


def test_swapping_the_policies_turns_the_rate() -> None:
    chance = np.random.default_rng(8)
    longer, win = chance.normal(30, 50, 80), chance.choice([0.0, 0.5, 1.0], 80)
    one, other = length_controlled(win, longer), length_controlled(1 - win, -longer)
    assert one.value is not None
    assert other.value is not None
    assert one.value + other.value == pytest.approx(1, abs=1e-9)


def test_a_policy_that_wins_by_length_alone_wins_half() -> None:
    chance = np.random.default_rng(9)
    longer = chance.normal(60, 60, 4000)
    win = (chance.random(4000) < expit(2 * np.tanh(longer / 85))).astype(float)
    found = length_controlled(win, longer)
    assert win.mean() > 0.65
    assert found.value == pytest.approx(0.5, abs=0.05)


@pytest.mark.parametrize(
    ("win", "longer", "note"),
    [
        ([1.0, 0.0, 0.5], [0.0, 0.0, 0.0], "equally long"),
        ([1.0, 1.0, 1.0], [1.0, -2.0, 3.0], "one policy wins"),
        ([1.0, 0.0], [1.0, 2.0], "too few"),
        ([0.5, 0.5, 0.5], [1.0, -2.0, 3.0], "every prompt is a tie"),
    ],
)
def test_where_no_regression_can_be_made(win: list[float], longer: list[float], note: str) -> None:
    found = length_controlled(np.array(win), np.array(longer))
    assert found.value is None
    assert note in (found.note or "")


def test_separated_outcomes_stay_finite() -> None:
    found = length_controlled(np.array([1.0, 1, 0, 0]), np.array([5.0, 9, -5, -9]))
    assert found.value == pytest.approx(0.5, abs=1e-9)
    assert found.slope is not None
    assert 0 < found.slope < 10
