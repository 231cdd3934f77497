"""RM-Bench (Liu et al., 2024): three styles of the right answer against three of the wrong one."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import PurePath
from typing import Any

import numpy as np

from assay.data.formats.fields import text
from assay.data.records import Source
from assay.data.strict_json import JsonObject
from assay.errors import DataError
from assay.evaluate.benchmarks.benchmark import (
    Benchmark,
    Item,
    ModelNote,
    Official,
    ScoredItem,
    Section,
    check_item,
    file_name,
    register_benchmark,
)
from assay.evaluate.benchmarks.counting import by_subset, mean, mean_of_all
from assay.evaluate.benchmarks.rows import group_by_format, id_of, item_of, stored_item
from assay.evaluate.stored_numbers import scores

DOMAINS = ("chat", "math", "code", "safety")
_STYLES = 3
_GOOD = (0, 1, 2)


def read_rm_bench(row: JsonObject, source: Source) -> Item:
    """A row of `THU-KEG/RM-Bench`: answers by style, concise, detailed, detailed in markdown."""
    group = group_by_format("rm_bench", row, source)
    for field in ("chosen", "rejected"):
        texts = row[field]
        assert isinstance(texts, list)
        if len(texts) != _STYLES:
            raise DataError(
                f"'{field}' holds {len(texts)} texts, not {_STYLES}",
                mend="give one of each style",
            )
    domain = text(row, "domain")
    _check_domain(domain)
    return item_of(group, row, id=id_of(row, source), subset=domain, good=_GOOD)


def read_rm_bench_scores(row: JsonObject, source: Source) -> ScoredItem:
    """A row of the authors' result list: `score_chosen` and `score_rejected`, three each."""
    rewards = scores(row, "score_chosen", _STYLES) + scores(row, "score_rejected", _STYLES)
    domain = text(row, "domain")
    _check_domain(domain)
    return stored_item(
        row,
        source,
        id=id_of(row, source),
        subset=domain,
        good=_GOOD,
        rewards=rewards,
        prompt=row.get("prompt"),
    )


def style_scores(scored: Sequence[ScoredItem]) -> dict[str, float | None]:
    """Accuracy where the wrong answer has the fancier style (hard), the same (normal), the plainer.

    Of a matrix of wins by style of the right answer (rows) and of the wrong one (columns): the
    means above the diagonal, on it, and below it; `mean` is that of the three.
    """
    if not scored:
        return dict.fromkeys(("easy", "normal", "hard", "mean"))
    reward_N6 = np.array([each.rewards for each in scored])
    win_SS = (reward_N6[:, :_STYLES, None] > reward_N6[:, None, _STYLES:]).mean(0)
    hard = float(win_SS[np.triu_indices(_STYLES, 1)].mean())
    normal = float(win_SS.diagonal().mean())
    easy = float(win_SS[np.tril_indices(_STYLES, -1)].mean())
    return {"easy": easy, "normal": normal, "hard": hard, "mean": mean((hard, normal, easy))}


def official_rm_bench(scored: Sequence[ScoredItem]) -> Official:
    """Means over the four domains of each difficulty, and of the three together."""
    domains = {
        domain: style_scores([each for each in scored if each.item.subset.startswith(domain)])
        for domain in DOMAINS
    }
    overall = {
        difficulty: mean_of_all(found[difficulty] for found in domains.values())
        for difficulty in ("easy", "normal", "hard")
    }
    missing = [domain for domain, found in domains.items() if found["mean"] is None]
    notes = []
    if missing:
        notes.append(f"missing domains: {', '.join(missing)}; so there is no total")
    return Official(
        "RM-Bench average",
        mean_of_all(found["mean"] for found in domains.values()),
        {**overall, "domains": domains, "missing_domains": missing},
        {name: style_scores(part)["mean"] for name, part in by_subset(scored).items()},
        tuple(notes),
        {
            domain: Section(
                found["mean"],
                {each.item.subset for each in scored if each.item.subset.startswith(domain)},
            )
            for domain, found in domains.items()
        },
    )


def write_rm_bench(scored: Sequence[ScoredItem], model: ModelNote) -> dict[str, str]:
    """The data with the scores of each row, as the authors' script leaves them."""
    rows: list[dict[str, Any]] = [
        {
            **({"id": each.item.id, "domain": each.item.subset} | each.item.row),
            "score_chosen": list(each.rewards[:_STYLES]),
            "score_rejected": list(each.rewards[_STYLES:]),
        }
        for each in scored
    ]
    names = {PurePath(each.item.source.file).name.split(".")[0] for each in scored}
    data = names.pop() if len(names) == 1 else "total_dataset"
    text = json.dumps(rows, ensure_ascii=False, indent=4, allow_nan=False)
    return {f"{data}_{file_name(model.name).replace('/', '_')}.json": text}


def _check(item: Item) -> None:
    check_item(item, responses=2 * _STYLES, good=_GOOD)
    _check_domain(item.subset)


def _check_domain(domain: str) -> None:
    if not domain.startswith(DOMAINS):
        raise DataError(
            f"'domain' is '{domain[:40]}', and it begins with {', '.join(DOMAINS)}",
            mend="keep the published domains",
        )


register_benchmark(
    Benchmark(
        name="rm-bench",
        title="RM-Bench",
        reads="id, prompt, chosen (3 texts), rejected (3 texts), domain",
        read=read_rm_bench,
        official=official_rm_bench,
        check=_check,
        read_scores=read_rm_bench_scores,
        write_results=write_rm_bench,
    )
)
