"""Means over items, and where there are none."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np

from assay.evaluate.benchmarks.benchmark import ScoredItem
from assay.evaluate.metrics import clustered_accuracy

Credit = Callable[[ScoredItem], float]
"""What an item counts, between 0 and 1."""


def mean(values: Iterable[float]) -> float | None:
    """The mean, or None of nothing."""
    listed = list(values)
    return math.fsum(listed) / len(listed) if listed else None


def mean_of_all(values: Iterable[float | None]) -> float | None:
    """The mean where every value is there, else None."""
    listed = list(values)
    present = [value for value in listed if value is not None]
    return mean(present) if len(present) == len(listed) else None


def mean_of_present(values: Iterable[float | None]) -> float | None:
    """The mean of those values that are there, or None."""
    return mean(value for value in values if value is not None)


def weighted_mean(values: Mapping[str, float], weights: Mapping[str, float]) -> float | None:
    """The mean of values with the weights of the same keys, or None of nothing."""
    if not values:
        return None
    total = math.fsum(weights[key] for key in values)
    return math.fsum(value * weights[key] for key, value in values.items()) / total


def by(
    scored: Iterable[ScoredItem], key: Callable[[ScoredItem], str]
) -> dict[str, list[ScoredItem]]:
    """Items by a key, keys in the order of first appearance."""
    parts: dict[str, list[ScoredItem]] = {}
    for item in scored:
        parts.setdefault(key(item), []).append(item)
    return parts


def by_subset(scored: Iterable[ScoredItem]) -> dict[str, list[ScoredItem]]:
    """Items by subset, subsets by name."""
    return dict(sorted(by(scored, lambda each: each.item.subset).items()))


def strict(each: ScoredItem) -> float:
    """1 where every right response is above every wrong one: a tie is not a win."""
    return float(each.is_strictly_right)


def accuracies(scored: Iterable[ScoredItem], credit: Credit = strict) -> dict[str, float]:
    """The mean credit of each subset."""
    return {
        name: math.fsum(map(credit, part)) / len(part) for name, part in by_subset(scored).items()
    }


def duplicates(scored: Sequence[ScoredItem]) -> int:
    """How many items have the id, subset and labels of an earlier one."""
    keys = {
        (each.item.id, each.item.subset, tuple(sorted(each.item.labels.items()))) for each in scored
    }
    return len(scored) - len(keys)


def interval(
    scored: Sequence[ScoredItem], credit: Credit = strict
) -> tuple[float, float | None, list[float]]:
    """The share of wins, its standard error clustered by prompt (None for one), its interval."""
    _, cluster_N = np.unique([each.item.cluster for each in scored], return_inverse=True)
    share, error, ends = clustered_accuracy(np.array([*map(credit, scored)]), cluster_N)
    return share, None if math.isnan(error) else error, list(ends)
