"""Whether the members of an ensemble disagree where the model errs."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from assay.evaluate.intervals import Ints
from assay.evaluate.metrics import Floats
from assay.evaluate.slices import by_quantile


def uncertainty_tables(spread_C: Floats, margin_C: Floats, cluster_C: Ints) -> dict[str, Any]:
    """Error rate by uncertainty, and how well uncertainty finds the errors.

    `auroc` is the probability that a comparison that was not won is more uncertain than one that
    was, equal ones counting one half. `auroc_of_margin` is the same of -|margin|, which needs no
    ensemble. Both are None where all were won, or none.

    Args:
        spread_C: standard deviation over the members (over M - 1) of each comparison's margin.
        margin_C: the model's margins.
        cluster_C: the prompt of each comparison.
    """
    error_C = margin_C <= 0
    bins = by_quantile(spread_C, margin_C, cluster_C)
    return {
        "mean": float(spread_C.mean()),
        "mean_where_right": float(spread_C[~error_C].mean()) if (~error_C).any() else None,
        "mean_where_wrong": float(spread_C[error_C].mean()) if error_C.any() else None,
        "auroc": auroc(spread_C, error_C),
        "auroc_of_margin": auroc(-np.abs(margin_C), error_C),
        "bins": [row | {"error_rate": 1 - row["accuracy"]} for row in bins],
    }


def auroc(value_C: Floats, positive_C: NDArray[np.bool_]) -> float | None:
    """P(value of a positive > value of a negative), equal values counting one half."""
    positives = int(positive_C.sum())
    negatives = len(positive_C) - positives
    if not positives or not negatives:
        return None
    ranks = rankdata(value_C)[positive_C].sum() - positives * (positives + 1) / 2
    return float(ranks / (positives * negatives))
