"""Accuracy of parts: by length, by language."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from assay.evaluate.intervals import Ints, accuracy_of
from assay.evaluate.metrics import Floats

_NUM_BINS = 5
_LEAST = 20
"""Comparisons of a bin, about: with fewer than 100 in all there are fewer bins."""


def by_quantile(value_C: Floats, margin_C: Floats, cluster_C: Ints) -> list[dict[str, Any]]:
    """Accuracy by a number, in up to five parts of about equally many comparisons.

    Equal values stand in one part; `low` and `high` are the least and the greatest in it.
    """
    count = max(1, min(_NUM_BINS, len(value_C) // _LEAST))
    shares = np.arange(1, count) / count
    edges = np.unique(np.quantile(value_C, shares, method="inverted_cdf"))
    part_C = np.searchsorted(edges, value_C, side="left")
    rows = []
    for part in np.unique(part_C).tolist():
        inside_C = part_C == part
        ends = {"low": float(value_C[inside_C].min()), "high": float(value_C[inside_C].max())}
        rows.append(ends | part_of(inside_C, margin_C, cluster_C))
    return rows


def by_name(name_C: Sequence[str], margin_C: Floats, cluster_C: Ints) -> dict[str, dict[str, Any]]:
    """Accuracy by a word, the most frequent first."""
    names, number_C, counts = np.unique(
        np.array(name_C, dtype=object).astype(str), return_inverse=True, return_counts=True
    )
    return {
        str(names[number]): part_of(number_C == number, margin_C, cluster_C)
        for number in np.argsort(-counts, kind="stable").tolist()
    }


def part_of(inside_C: NDArray[np.bool_], margin_C: Floats, cluster_C: Ints) -> dict[str, Any]:
    """Accuracy with its interval and the mean margin of some of the comparisons."""
    own_C = margin_C[inside_C]
    found = accuracy_of((own_C > 0).astype(np.float64), cluster_C[inside_C])
    return found | {"mean_margin": float(own_C.mean()) if len(own_C) else None}
