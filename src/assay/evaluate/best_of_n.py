"""What picking the best of k random responses by reward is worth, in ratings."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from assay.evaluate.agreement import Rated, by_size
from assay.evaluate.intervals import Ints, mean_interval
from assay.evaluate.metrics import Floats


def best_of_n(rated: Sequence[Rated], *, higher_is_better: bool = True) -> list[dict[str, Any]]:
    """For k = 1, 2, ...: the expected rating of the response of highest reward among k random ones.

    k different responses of a prompt are drawn, each set of k as likely as any other; the
    expectation is exact, by counting sets. Of equal rewards each is as likely to be picked.
    `random` is the mean rating, `oracle` picks by the rating itself, `gain` is model - random and
    `gain_share` = gain / (oracle - random). Each k counts the prompts that have at least k rated
    responses: where prompts have different numbers of them, values of two k are of different
    prompts, but the three of one k are of the same. Intervals are clustered by prompt.

    Args:
        rated: at least one.
        higher_is_better: of the rating.
    """
    sign = 1.0 if higher_is_better else -1.0
    # By k: the prompt of each group that has k, and its rating by model, chance and oracle.
    prompts: dict[int, list[int]] = {}
    values: dict[int, list[Floats]] = {}
    for chosen, rating_Gn, reward_Gn in by_size(rated):
        model_Gk = expected_picks(reward_Gn, rating_Gn)
        oracle_Gk = expected_picks(sign * rating_Gn, rating_Gn)
        chance_G = oracle_Gk[:, 0]
        for k in range(1, rating_Gn.shape[1] + 1):
            prompts.setdefault(k, []).extend(rated[i].prompt for i in chosen)
            columns = (model_Gk[:, k - 1], chance_G, oracle_Gk[:, k - 1])
            values.setdefault(k, []).append(np.stack(columns))
    return [
        _point(k, np.concatenate(values[k], axis=1), np.array(prompts[k], dtype=np.intp))
        for k in sorted(values)
    ]


def expected_picks(score_Gn: Floats, rating_Gn: Floats) -> Floats:
    """[G, k]: the expected rating of the highest score among k of n, for k = 1 to n.

    The i-th lowest of n (from 1) is the highest of k in C(i - 1, k - 1) of C(n, k) sets.
    """
    order_Gn = np.argsort(score_Gn, axis=1, kind="stable")
    score_Gn = np.take_along_axis(score_Gn, order_Gn, axis=1)
    mean_G = rating_Gn.mean(1)
    rating_Gn = np.take_along_axis(rating_Gn, order_Gn, axis=1)
    # Equal scores share the weight of their places: each counts with the mean of their ratings.
    equal_Gnn = (score_Gn[:, :, None] == score_Gn[:, None, :]).astype(np.float64)
    mean_Gn = np.einsum("gij,gj->gi", equal_Gnn, rating_Gn) / equal_Gnn.sum(2)
    picks: Floats = mean_Gn @ _weights(score_Gn.shape[1])
    picks[:, 0] = mean_G  # To the last bit, whatever the order.
    return picks


def _weights(n: int) -> Floats:
    """[n, k]: P(the i-th lowest of n is the highest of k); by ratios, so that nothing overflows."""
    weight_nk = np.zeros((n, n))
    for k in range(1, n + 1):
        weight_nk[n - 1, k - 1] = k / n
        for i in range(n - 1, k - 1, -1):  # C(i - 1, k - 1) / C(i, k - 1) = (i - k + 1) / i
            weight_nk[i - 1, k - 1] = weight_nk[i, k - 1] * (i - k + 1) / i
    return weight_nk


def _point(k: int, value_3G: Floats, cluster_G: Ints) -> dict[str, Any]:
    model_G, chance_G, oracle_G = value_3G
    value, interval = mean_interval(model_G, cluster_G)
    gain, gain_interval = mean_interval(model_G - chance_G, cluster_G)
    room = float((oracle_G - chance_G).mean())
    return {
        "k": k,
        "num_prompts": len(np.unique(cluster_G)),
        "model": value,
        "model_ci95": interval,
        "random": float(chance_G.mean()),
        "oracle": float(oracle_G.mean()),
        "gain": gain,
        "gain_ci95": gain_interval,
        "gain_share": gain / room if abs(room) > 1e-12 else None,
    }
