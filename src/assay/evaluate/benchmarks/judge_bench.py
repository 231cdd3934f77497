"""JudgeBench (Tan et al., 2024): which of two answers is the right one."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence

from assay.data.formats.fields import choice, require, text, wrong_type
from assay.data.records import Source
from assay.data.strict_json import JsonObject
from assay.errors import DataError
from assay.evaluate.benchmarks.benchmark import (
    Benchmark,
    Item,
    ModelNote,
    Official,
    ScoredItem,
    check_item,
    file_name,
    register_benchmark,
)
from assay.evaluate.benchmarks.counting import accuracies, mean
from assay.evaluate.benchmarks.rows import group_by_format, id_of, item_of, stored_item
from assay.evaluate.stored_numbers import scores

CATEGORIES = {
    "mmlu-pro": "knowledge",
    "livebench-reasoning": "reasoning",
    "livebench-math": "math",
    "livecodebench": "coding",
}
"""The beginning of a row's `source`, and the category that it stands for."""

_RIGHT: dict[int | str, int] = {"A>B": 0, "B>A": 1}


def read_judge_bench(row: JsonObject, source: Source) -> Item:
    """A pair with `label` A>B or B>A."""
    group = group_by_format("judge_bench", row, source)
    return item_of(
        group,
        row,
        id=id_of(row, source, "pair_id"),
        subset=_category(row),
        good=(choice(row, "label", _RIGHT),),
        labels=_labels(row),
    )


def read_judge_bench_scores(row: JsonObject, source: Source) -> ScoredItem:
    """A pair with the judgment of a reward model: `judgments[0].judgment.scores`, A and B."""
    judgments = require(row, "judgments")
    first = judgments[0] if isinstance(judgments, list) and judgments else None
    judgment = first.get("judgment") if isinstance(first, dict) else None
    if not isinstance(judgment, dict):
        raise wrong_type("judgments", judgments, "a list with the judgment of a reward model")
    return stored_item(
        row,
        source,
        id=id_of(row, source, "pair_id"),
        subset=_category(row),
        good=(choice(row, "label", _RIGHT),),
        rewards=scores(judgment, "scores", 2),
        prompt=row.get("question"),
        labels=_labels(row),
    )


def decision(each: ScoredItem) -> str:
    """What the authors' judge says: A>B for a strictly higher reward of A, else B>A."""
    return "A>B" if each.rewards[0] > each.rewards[1] else "B>A"


def official_judge_bench(scored: Sequence[ScoredItem]) -> Official:
    """The share of decisions that are the label, of all pairs and by category.

    Equal rewards are the decision B>A: right where B is.
    """
    by_category = accuracies(scored, _credit)
    missing = [name for name in CATEGORIES.values() if name not in by_category]
    models = Counter(each.item.labels.get("response_model", "not named") for each in scored)
    notes = []
    if missing:
        notes.append(f"no pairs of: {', '.join(missing)}; overall is of all pairs that there are")
    if len(models) > 1:
        listed = ", ".join(f"{name} {count}" for name, count in models.items())
        notes.append(f"answers of several models ({listed}); the authors report each by itself")
    return Official(
        "JudgeBench overall accuracy",
        mean(map(_credit, scored)),
        {
            "categories": {name: by_category.get(name) for name in CATEGORIES.values()},
            "missing_categories": missing,
            "response_models": dict(models),
        },
        dict(by_category),
        tuple(notes),
    )


def write_judge_bench(scored: Sequence[ScoredItem], model: ModelNote) -> dict[str, str]:
    """The pairs with `judgments`, one line each."""
    lines = []
    for each in scored:
        judged = {
            "judgment": {"judge_model": model.name, "scores": list(each.rewards)},
            "decision": decision(each),
        }
        row = dict(each.item.row) | {"judge_name": "reward_model", "judgments": [judged]}
        lines.append(json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n")
    name = file_name(model.name).replace("/", "_")
    return {f"judge_name=reward_model,judge_model={name}.jsonl": "".join(lines)}


def _credit(each: ScoredItem) -> float:
    return float(decision(each) == ("A>B" if each.item.good == (0,) else "B>A"))


def _category(row: JsonObject) -> str:
    source = text(row, "source")
    for beginning, category in CATEGORIES.items():
        if source.startswith(beginning):
            return category
    raise DataError(
        f"'source' is '{source[:40]}', and it begins with {', '.join(CATEGORIES)}",
        mend="keep the published sources",
    )


def _labels(row: JsonObject) -> dict[str, str]:
    model = row.get("response_model")
    return {"response_model": model} if isinstance(model, str) else {}


register_benchmark(
    Benchmark(
        name="judgebench",
        title="JudgeBench",
        reads="pair_id, source, question, response_A, response_B, label",
        read=read_judge_bench,
        official=official_judge_bench,
        check=check_item,
        read_scores=read_judge_bench_scores,
        write_results=write_judge_bench,
    )
)
