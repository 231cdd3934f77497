"""Shares and means of comparisons with intervals that are clustered by prompt."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from assay.evaluate.metrics import Floats, clustered_accuracy, student

Ints = NDArray[np.intp]


def dense(cluster_C: NDArray[Any]) -> Ints:
    """The clusters numbered from 0, without gaps."""
    numbers: Ints = np.unique(cluster_C, return_inverse=True)[1]
    return numbers


def accuracy_of(win_C: Floats, cluster_C: Ints) -> dict[str, Any]:
    """Accuracy of some comparisons with its 95% interval; both None where there is none.

    Args:
        win_C: 1 for a win, 0 for none.
        cluster_C: the prompt of each comparison, by any number.
    """
    if not len(win_C):
        return {
            "accuracy": None,
            "accuracy_ci95": None,
            "num_comparisons": 0,
            "num_prompts": 0,
        }
    prompt_C = dense(cluster_C)
    accuracy, _, interval = clustered_accuracy(win_C, prompt_C)
    return {
        "accuracy": accuracy,
        "accuracy_ci95": list(interval),
        "num_comparisons": len(win_C),
        "num_prompts": int(prompt_C.max()) + 1,
    }


def mean_interval(value_C: Floats, cluster_C: Ints) -> tuple[float, list[float] | None]:
    """A mean and its 95% interval: sandwich error by prompt, factor P / (P - 1), Student's t.

    Returns:
        the mean, and (low, high); None of one prompt, which says nothing about others.
    """
    mean = float(value_C.mean())
    prompt_C = dense(cluster_C)
    num_prompts = int(prompt_C.max()) + 1
    if num_prompts == 1:
        return mean, None
    residual_P = np.bincount(prompt_C, weights=value_C - mean)
    variance = float((residual_P**2).sum()) / len(value_C) ** 2 * num_prompts / (num_prompts - 1)
    half = student(num_prompts - 1) * math.sqrt(variance)
    return mean, [mean - half, mean + half]
