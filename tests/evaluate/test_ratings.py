"""Best of n and rank agreement against ratings: by hand, by brute force, against scipy."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy import stats

from assay.evaluate.agreement import Rated, kendall, rank_agreement, spearman
from assay.evaluate.best_of_n import best_of_n, expected_picks


def test_best_of_n_by_hand() -> None:
    # Rewards order ratings as 1, 4, 2 from lowest to highest. k = 2: the highest of three is
    # picked in 2 of 3 sets, the second in 1 of 3: (2 * 2 + 1 * 4) / 3 = 8/3.
    curve = best_of_n([Rated(0, (4.0, 1.0, 2.0), (0.5, 0.1, 0.9))])
    assert [row["k"] for row in curve] == [1, 2, 3]
    assert [row["model"] for row in curve] == pytest.approx([7 / 3, 8 / 3, 2], abs=1e-12)
    # Oracle: 7/3, (2 * 4 + 1 * 2) / 3 = 10/3, 4.
    assert [row["oracle"] for row in curve] == pytest.approx([7 / 3, 10 / 3, 4], abs=1e-12)
    assert [row["random"] for row in curve] == pytest.approx([7 / 3] * 3, abs=1e-12)
    assert curve[1]["gain_share"] == pytest.approx((8 - 7) / (10 - 7), abs=1e-12)
    assert curve[0]["gain_share"] is None
    assert curve[0]["model_ci95"] is None, "one prompt says nothing about others"


def test_counting_equals_trying_every_set() -> None:
    chance = np.random.default_rng(0)
    for _ in range(20):
        score = chance.integers(0, 4, 6).astype(float)  # with ties
        rating = chance.normal(size=6)
        picks = expected_picks(score[None], rating[None])[0]
        for k in range(1, 7):
            values = []
            for chosen in map(list, itertools.combinations(range(6), k)):
                best = score[chosen] == score[chosen].max()
                values.append(rating[chosen][best].mean())
            assert picks[k - 1] == pytest.approx(np.mean(values), abs=1e-12)


def test_each_k_has_the_prompts_that_have_k() -> None:
    curve = best_of_n([Rated(0, (1.0, 2.0), (0, 1)), Rated(1, (1.0, 2.0, 6.0), (0, 1, 2))])
    assert [row["num_prompts"] for row in curve] == [2, 2, 1]
    assert curve[2]["model"] == curve[2]["oracle"] == 6.0
    assert curve[2]["random"] == 3.0


def test_a_rating_of_badness_has_the_least_as_oracle() -> None:
    curve = best_of_n([Rated(0, (1.0, 5.0), (2.0, 0.0))], higher_is_better=False)
    assert curve[1]["model"] == curve[1]["oracle"] == 1.0
    assert curve[1]["gain_share"] == 1.0


def test_many_responses_do_not_overflow() -> None:
    curve = best_of_n([Rated(0, tuple(map(float, range(300))), tuple(map(float, range(300))))])
    assert curve[-1]["model"] == pytest.approx(299)


def test_rank_correlations_are_scipys() -> None:
    chance = np.random.default_rng(1)
    x, y = (chance.integers(0, 4, (30, 7)).astype(float) for _ in range(2))
    for row in range(30):
        assert spearman(x, y)[row] == pytest.approx(
            stats.spearmanr(x[row], y[row]).statistic, abs=1e-12
        )
        assert kendall(x, y)[row] == pytest.approx(
            stats.kendalltau(x[row], y[row]).statistic, abs=1e-12
        )


def test_agreement_by_hand() -> None:
    # Ratings 1 2 3 against rewards 1 3 2: of three pairs one is turned, tau = (2 - 1) / 3 = 1/3;
    # rho = 1 - 6 * (0 + 1 + 1) / (3 * 8) = 1/2. The second group agrees wholly: 1 and 1.
    rated = [
        Rated(0, (1, 2, 3), (1, 3, 2)),
        Rated(1, (1, 2), (5, 6)),
        Rated(2, (4, 4), (5, 6)),
    ]
    found = rank_agreement(rated)
    assert found["kendall"] == pytest.approx((1 / 3 + 1) / 2, abs=1e-12)
    assert found["spearman"] == pytest.approx((1 / 2 + 1) / 2, abs=1e-12)
    assert (found["num_groups"], found["num_constant"], found["num_pairs"]) == (2, 1, 4)
    # Two prompts: error |a - b| / 2, t(0.975; 1) = 12.706204736.
    half = 12.706204736174694 * (1 - 1 / 3) / 2
    assert found["kendall_ci95"] == pytest.approx([2 / 3 - half, 2 / 3 + half], abs=1e-9)


def test_equal_rewards_agree_with_nothing() -> None:
    assert rank_agreement([Rated(0, (1, 2), (3, 3))])["kendall"] == 0.0
    assert rank_agreement([Rated(0, (1, 1), (3, 4))])["kendall"] is None
