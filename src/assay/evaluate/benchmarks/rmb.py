"""RMB (Zhou et al., 2024): pairs and best-of-n, of helpfulness and harmlessness."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import partial
from pathlib import PurePath

from assay.data.formats.fields import require
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
from assay.evaluate.benchmarks.counting import accuracies, by, mean, mean_of_all, strict
from assay.evaluate.benchmarks.rows import group_by_format, id_of, item_of, stored_item
from assay.evaluate.stored_numbers import one_score

GOALS = ("Helpfulness", "Harmlessness")
KINDS = ("pairwise", "best_of_n")


def read_rmb(row: JsonObject, source: Source) -> Item:
    """A pair (`pair_uid`) or a best answer with its losers (`bon_uid`)."""
    is_bon = "bon_uid" in row
    group = group_by_format("rmb_bon" if is_bon else "rmb_pairs", row, source)
    path = _path(row, source)
    return item_of(
        group,
        row,
        id=id_of(row, source, "bon_uid" if is_bon else "pair_uid"),
        subset="/".join(("BoN_set" if is_bon else "Pairwise_set", *path)),
        good=(0,),
        labels={"set": "best_of_n" if is_bon else "pairwise", "goal": path[0]},
    )


def read_rmb_scores(row: JsonObject, source: Source) -> ScoredItem:
    """A row of the authors' results: pair_uid, category_path, chosen_reward, reject_reward."""
    rewards = tuple(
        one_score(require(row, field), field) for field in ("chosen_reward", "reject_reward")
    )
    path = _path(row, source)
    return stored_item(
        row,
        source,
        id=id_of(row, source, "pair_uid"),
        subset="/".join(("Pairwise_set", *path)),
        good=(0,),
        rewards=rewards,
        labels={"set": "pairwise", "goal": path[0]},
    )


def official_rmb(scored: Sequence[ScoredItem]) -> Official:
    """Accuracy of pairs and of best-of-n for each goal, and the mean of these four.

    A pair is right where the chosen response is strictly higher, a best-of-n where the best is
    strictly higher than every loser.
    """
    parts = by(scored, lambda each: f"{each.item.labels['goal']} {each.item.labels['set']}")
    four = {
        goal: {kind: mean(map(strict, parts.get(f"{goal} {kind}", []))) for kind in KINDS}
        for goal in GOALS
    }
    missing = [
        f"{goal} {kind}" for goal, kinds in four.items() for kind in kinds if kinds[kind] is None
    ]
    notes: tuple[str, ...] = ()
    if missing:
        notes = (f"missing: {', '.join(missing)}; so there is no overall number",)
    return Official(
        "RMB overall",
        mean_of_all(value for kinds in four.values() for value in kinds.values()),
        {**four, "missing": missing},
        dict(accuracies(scored)),
        notes,
        {
            name: Section(mean(map(strict, part)), {each.item.subset for each in part})
            for name, part in parts.items()
        },
    )


def write_rmb(scored: Sequence[ScoredItem], model: ModelNote) -> dict[str, str]:
    """The authors' result list of pairs; they publish no format for best-of-n."""
    rows = [
        {
            "pair_uid": each.item.id,
            "category_path": each.item.subset,
            "chosen_reward": each.rewards[0],
            "reject_reward": each.rewards[1],
            "is_correct": int(each.is_strictly_right),
        }
        for each in scored
        if each.item.labels["set"] == "pairwise"
    ]
    if not rows:
        return {}
    text = json.dumps(rows, ensure_ascii=False, indent=2, allow_nan=False)
    return {f"{file_name(model.name).replace('/', '_')}_result.json": text}


def _path(row: JsonObject, source: Source) -> tuple[str, ...]:
    """Goal and scenario, of `category_path`, else of the path of the file."""
    given = row.get("category_path")
    place = given if isinstance(given, str) else str(PurePath(source.file).with_suffix(""))
    parts = PurePath(place).parts
    for goal in GOALS:
        if goal in parts:
            return parts[parts.index(goal) :]
    raise DataError(
        f"there is no 'category_path' with {' or '.join(GOALS)}, nor such a directory",
        mend="keep the published directories, or add the field",
    )


register_benchmark(
    Benchmark(
        name="rmb",
        title="RMB",
        reads="pair_uid or bon_uid, conversation_input, chosen and reject or bon_best and "
        "loser_list; goal and scenario by category_path or directory",
        read=read_rmb,
        official=official_rmb,
        check=partial(check_item, responses=None, good=(0,), labels={"set": KINDS, "goal": GOALS}),
        read_scores=read_rmb_scores,
        write_results=write_rmb,
    )
)
