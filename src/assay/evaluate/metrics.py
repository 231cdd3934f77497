"""Metrics over comparisons. Numpy and scipy only; every accuracy carries its uncertainty.

Shapes: C comparisons, P prompts.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

Floats = NDArray[np.float64]

METRICS = {"accuracy": 1, "mean_margin": 1, "loss": -1}
"""What evaluations are compared and tracked by: 1 where higher is better, -1 where lower is."""

NEAR_TIE = 1e-5
"""Margins below it may change their sign with the order of rows, packs or processes."""


@dataclass(frozen=True, slots=True)
class Scored:
    """One decided comparison with the rewards of its two responses."""

    prompt: str
    chosen_reward: float
    rejected_reward: float
    chosen_tokens: int
    rejected_tokens: int
    tag: str = ""

    @property
    def margin(self) -> float:
        """Reward of the better response minus that of the worse."""
        return self.chosen_reward - self.rejected_reward

    @property
    def result(self) -> str:
        """`win`, `tie` or `loss`; a tie is not a win."""
        return "win" if self.margin > 0 else "tie" if self.margin == 0 else "loss"


def tag_of(tags: Mapping[str, str]) -> str:
    """The slice that a comparison counts to: all its tags together."""
    return "/".join(tags.values())


def comparison_metrics(scored: Sequence[Scored]) -> dict[str, Any]:
    """Accuracy with its interval, margins, moments of the rewards, and the length baseline.

    `accuracy` counts strict wins. Its standard error and interval are clustered by prompt:
    comparisons of one prompt share responses and do not count as independent. `num_near_ties`
    counts margins below 1e-5, ties among them: all that another order may decide anew. `loss` is
    the mean of -log sigmoid(margin), whatever the model was trained with.

    Raises:
        ValueError: there is no comparison.
    """
    if not scored:
        raise ValueError("no comparison to compute metrics of")
    chosen_C = np.array([item.chosen_reward for item in scored])
    rejected_C = np.array([item.rejected_reward for item in scored])
    margin_C = chosen_C - rejected_C
    prompts, cluster_C = np.unique([item.prompt for item in scored], return_inverse=True)
    win_C = (margin_C > 0).astype(np.float64)
    accuracy, error, interval = clustered_accuracy(win_C, cluster_C)
    every = np.concatenate([chosen_C, rejected_C])
    return {
        "accuracy": accuracy,
        "wins": int(win_C.sum()),
        "ties": int((margin_C == 0).sum()),
        "losses": int((margin_C < 0).sum()),
        "num_near_ties": int((np.abs(margin_C) < NEAR_TIE).sum()),
        "num_comparisons": len(scored),
        "num_prompts": len(prompts),
        "accuracy_se": None if math.isnan(error) else error,
        "accuracy_ci95": list(interval),
        "length_baseline": length_baseline(scored),
        "mean_margin": float(margin_C.mean()),
        "loss": float(np.logaddexp(0.0, -margin_C).mean()),
        "reward_mean": float(every.mean()),
        "reward_std": float(every.std(ddof=1)),
        "chosen_mean": float(chosen_C.mean()),
        "rejected_mean": float(rejected_C.mean()),
        "by_tag": _by_tag(scored),
    }


def without_lengths(metrics: dict[str, Any]) -> dict[str, Any]:
    """The metrics where nothing is known of lengths: None in the place of each baseline."""
    table = {tag: row | {"length_baseline": None} for tag, row in metrics["by_tag"].items()}
    return metrics | {"length_baseline": None, "by_tag": table}


def length_baseline(scored: Sequence[Scored]) -> float:
    """Accuracy of "the longer response (in tokens) wins", equal lengths counting one half."""
    longer_C = np.array([item.chosen_tokens - item.rejected_tokens for item in scored])
    return float(((np.sign(longer_C) + 1) / 2).mean())


def clustered_accuracy(
    win_C: Floats, cluster_C: NDArray[np.intp]
) -> tuple[float, float, tuple[float, float]]:
    """Mean of wins, its standard error clustered by prompt, and a 95% interval.

    The standard error is the sandwich one, with the small-sample factor P / (P - 1). The interval
    is Wilson's (1927) with the effective number of comparisons that this error implies and
    Student's t with P - 1 degrees: near 0 and 1, and with few prompts, the plain normal interval
    covers far less than it says. When all prompts have the same share of wins the error is 0 and
    says nothing, and the number of prompts stands as the effective number.

    Returns:
        accuracy, standard error (nan for one prompt), (low, high).
    """
    accuracy = float(win_C.mean())
    num_prompts = int(cluster_C.max()) + 1
    if num_prompts == 1:
        return accuracy, math.nan, (0.0, 1.0)
    wins_P = np.bincount(cluster_C, weights=win_C, minlength=num_prompts)
    size_P = np.bincount(cluster_C, minlength=num_prompts)
    # wins - size * accuracy, times C: whole numbers, so that equal shares give exactly 0.
    residual_P = wins_P * len(win_C) - size_P * win_C.sum()
    variance = float((residual_P**2).sum()) / len(win_C) ** 4 * num_prompts / (num_prompts - 1)
    effective = accuracy * (1 - accuracy) / variance if variance > 0 else float(num_prompts)
    effective = min(max(effective, 1.0), float(len(win_C)))
    interval = wilson_interval(accuracy, effective, student(num_prompts - 1))
    return accuracy, math.sqrt(variance), interval


def student(degrees: int) -> float:
    """The quantile of Student's t between whose negative and which 95% lie."""
    return float(stats.t.ppf(0.975, degrees))


def wilson_interval(share: float, count: float, quantile: float) -> tuple[float, float]:
    """Wilson's interval of a share of `count` trials (Wilson, 1927)."""
    square = quantile**2 / count
    centre = (share + square / 2) / (1 + square)
    half = quantile / (1 + square) * math.sqrt(share * (1 - share) / count + square / (4 * count))
    # The share lies within, whatever the last bit of a rounding says.
    return max(0.0, min(share, centre - half)), min(1.0, max(share, centre + half))


def _by_tag(scored: Sequence[Scored]) -> dict[str, dict[str, Any]]:
    parts: dict[str, list[Scored]] = {}
    for item in scored:
        if item.tag:
            parts.setdefault(item.tag, []).append(item)
    table: dict[str, dict[str, Any]] = {}
    for tag, part in sorted(parts.items()):
        results = [item.result for item in part]
        win_C = np.array([result == "win" for result in results], dtype=np.float64)
        cluster_C = np.unique([item.prompt for item in part], return_inverse=True)[1]
        accuracy, _, interval = clustered_accuracy(win_C, cluster_C)
        table[tag] = {
            "accuracy": accuracy,
            "accuracy_ci95": list(interval),
            "wins": results.count("win"),
            "ties": results.count("tie"),
            "losses": results.count("loss"),
            "num_comparisons": len(part),
            "mean_margin": float(np.mean([item.margin for item in part])),
            "length_baseline": length_baseline(part),
        }
    return table
