"""Two models on the same comparisons: the difference, its interval, and McNemar's test."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import stats

from assay.evaluate.intervals import Ints, dense
from assay.evaluate.metrics import Floats

RESAMPLES = 10_000
"""Bootstrap samples of the prompts."""


@dataclass(frozen=True, slots=True)
class Difference:
    """The second model against the first, on comparisons that both scored.

    Attributes:
        value: accuracy of the second minus that of the first.
        interval: 95%, by prompt.
        gained: comparisons that only the second wins.
        lost: comparisons that only the first wins.
        mcnemar_p: exact two-sided; of independent comparisons, which those of one prompt are not.
    """

    value: float
    interval: tuple[float, float]
    gained: int
    lost: int
    mcnemar_p: float


def difference(first_C: Floats, second_C: Floats, cluster_C: Ints, *, seed: int = 0) -> Difference:
    """Compare wins (1 or 0) on the same comparisons."""
    change_C = second_C - first_C
    gained, lost = int((change_C > 0).sum()), int((change_C < 0).sum())
    return Difference(
        value=float(change_C.mean()),
        interval=bootstrap_interval(change_C, cluster_C, seed=seed),
        gained=gained,
        lost=lost,
        mcnemar_p=mcnemar(gained, lost),
    )


def mcnemar(gained: int, lost: int) -> float:
    """Exact two-sided p value that a flip is as likely in either direction; 1 without flips."""
    if gained + lost == 0:
        return 1.0
    return float(stats.binomtest(gained, gained + lost, 0.5).pvalue)


def bootstrap_interval(
    change_C: Floats, cluster_C: Ints, *, seed: int = 0, resamples: int = RESAMPLES
) -> tuple[float, float]:
    """The 95% percentile interval of the mean change, whole prompts drawn with replacement.

    Where the mean change of all P prompts is the same (none, say), every sample is the same: then
    the ends are what such prompts leave possible for the mean, if in a share 1 - 0.025^(1 / P) of
    all prompts each comparison changes to one side. One prompt says nothing.
    """
    prompt_C = dense(cluster_C)
    sum_P = np.bincount(prompt_C, weights=change_C)
    size_P = np.bincount(prompt_C).astype(np.float64)
    if len(sum_P) == 1:
        return -1.0, 1.0
    mean = float(sum_P[0] / size_P[0])
    if np.all(sum_P / size_P == mean):
        share = 1 - 0.025 ** (1 / len(sum_P))
        return mean - share * (1 + mean), mean + share * (1 - mean)
    # Prompts with equal sums and sizes are one kind: drawing kinds by their counts is the same.
    kind_K2, count_K = np.unique(np.stack([sum_P, size_P], axis=1), axis=0, return_counts=True)
    chance = np.random.default_rng(seed)
    drawn_BK = chance.multinomial(len(sum_P), count_K / len(sum_P), size=resamples)
    mean_B = (drawn_BK @ kind_K2[:, 0]) / (drawn_BK @ kind_K2[:, 1])
    low, high = np.quantile(mean_B, [0.025, 0.975])
    return float(low), float(high)
