"""The results of a benchmark: the authors' numbers, and beside them strict ones with intervals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from assay.evaluate.benchmarks.benchmark import Benchmark, ScoredItem
from assay.evaluate.benchmarks.counting import by_subset, duplicates, interval
from assay.evaluate.metrics import Scored, comparison_metrics, without_lengths
from assay.evaluate.outputs import comparison_row

ABOUT_ROWS = ("name", "title", "headline", "partial", "strict", "by_subset", "by_section")
"""What in `benchmark` is shown by itself, apart from the authors' other numbers."""


def measure(
    benchmark: Benchmark, scored: Sequence[ScoredItem], *, is_partial: bool = False
) -> dict[str, Any]:
    """What stands in `results.json` of the rewards: metrics of all pairs, and `benchmark`.

    At the top, every right response is compared with every wrong one. `benchmark` holds the
    authors' numbers, and of all items and of each subset the share that is strictly right, with an
    interval clustered by prompt: an item is right where no wrong response reaches a right one.

    Args:
        benchmark: whose items they are.
        scored: at least one.
        is_partial: a limit left rows unread.
    """
    official = benchmark.official(scored)
    metrics = comparison_metrics([pair for each in scored for pair in pairs_of(each)])
    if not all(each.num_tokens for each in scored):
        metrics = without_lengths(metrics)
    repeated = duplicates(scored)
    notes = [*official.notes]
    if repeated:
        notes.append(f"{repeated} rows repeat the id of another of their subset; each is counted")
    if is_partial:
        notes.append("partial: --limit left rows unread, so no number is that of the benchmark")
    found = {
        "name": benchmark.name,
        "title": benchmark.title,
        "headline": {"name": official.headline, "value": official.value},
        "partial": is_partial,
        **official.numbers,
        "strict": _strict(scored),
        "by_subset": {
            name: {"official": official.by_subset.get(name), **_strict(part)}
            for name, part in by_subset(scored).items()
        },
        "by_section": {
            name: {"official": section.value, **_strict(part)}
            for name, section in official.sections.items()
            if (part := [each for each in scored if each.item.subset in section.subsets])
        },
        "duplicate_ids": repeated,
        "notes": notes,
    }
    return metrics | {"benchmark": found}


def pairs_of(each: ScoredItem) -> list[Scored]:
    """Every right response of an item against every wrong one."""
    tokens = each.num_tokens or (0,) * len(each.rewards)
    return [
        Scored(
            prompt=each.item.cluster,
            chosen_reward=each.rewards[good],
            rejected_reward=each.rewards[bad],
            chosen_tokens=tokens[good],
            rejected_tokens=tokens[bad],
            tag=each.item.subset,
        )
        for good, bad in each.pairs
    ]


def comparison_rows(each: ScoredItem) -> list[dict[str, Any]]:
    """The pairs of an item as rows of `comparisons.jsonl`; texts where they are known."""
    group, tags = each.item.group, {"subset": each.item.subset, **each.item.labels}
    return [
        comparison_row(
            pair,
            each.item.source,
            tags,
            None if group is None else (group, *places),
            has_tokens=bool(each.num_tokens),
        )
        for places, pair in zip(each.pairs, pairs_of(each), strict=True)
    ]


def flat_numbers(numbers: Mapping[str, Any], above: str = "") -> dict[str, float | None]:
    """All fractions below a dictionary, and those that are missing, by their path."""
    found: dict[str, float | None] = {}
    for name, value in numbers.items():
        path = f"{above} / {name}" if above else name
        if isinstance(value, dict):
            found |= flat_numbers(value, path)
        elif value is None or isinstance(value, float):
            found[path] = value
    return found


def _strict(scored: Sequence[ScoredItem]) -> dict[str, Any]:
    share, error, ends = interval(scored)
    return {
        "num_items": len(scored),
        "accuracy": share,
        "accuracy_se": error,
        "accuracy_ci95": ends,
    }
