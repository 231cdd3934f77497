"""LLMBar (Zeng et al., 2023): does an answer follow the instruction, however it looks."""

from __future__ import annotations

import re
from collections.abc import Sequence

from assay.data.formats.fields import choice
from assay.data.records import Source
from assay.data.strict_json import JsonObject
from assay.errors import DataError
from assay.evaluate.benchmarks.benchmark import (
    Benchmark,
    Item,
    Official,
    ScoredItem,
    Section,
    check_item,
    register_benchmark,
)
from assay.evaluate.benchmarks.counting import accuracies, mean_of_all
from assay.evaluate.benchmarks.rows import group_by_format, id_of, item_of

ADVERSARIAL = ("Neighbor", "GPTInst", "GPTOut", "Manual")
SUBSETS = ("Natural", *ADVERSARIAL)

_RIGHT: dict[int | str, int] = {1: 0, 2: 1}


def read_llmbar(row: JsonObject, source: Source) -> Item:
    """A row with `label` 1 or 2; its subset is the field of that name, else the directory's."""
    group = group_by_format("llmbar", row, source)
    given = row.get("subset")
    return item_of(
        group,
        row,
        id=id_of(row, source),
        subset=_subset(given if isinstance(given, str) else source.file),
        good=(choice(row, "label", _RIGHT),),
    )


def official_llmbar(scored: Sequence[ScoredItem]) -> Official:
    """Accuracy by subset and the plain mean of the four adversarial ones; a tie is not a win."""
    found = accuracies(scored)
    missing = [name for name in SUBSETS if name not in found]
    notes: tuple[str, ...] = ()
    if missing:
        notes = (f"missing subsets: {', '.join(missing)}; so means that need them are not given",)
    adversarial = mean_of_all(found.get(name) for name in ADVERSARIAL)
    return Official(
        "LLMBar adversarial average",
        adversarial,
        {
            "natural": found.get("Natural"),
            "average_of_five": mean_of_all(found.get(name) for name in SUBSETS),
            "missing_subsets": missing,
        },
        dict(found),
        notes,
        {"Adversarial": Section(adversarial, ADVERSARIAL)},
    )


def _subset(place: str) -> str:
    words = re.split(r"[^a-z]+", place.lower())
    # The last one counts: a directory above may have such a name by chance.
    for word in reversed(words):
        for name in SUBSETS:
            if word == name.lower():
                return name
    raise DataError(
        f"neither a field 'subset' nor the path names one of {', '.join(SUBSETS)}",
        mend="keep the published directories, or add the field",
    )


register_benchmark(
    Benchmark(
        name="llmbar",
        title="LLMBar",
        reads="input, output_1, output_2, label; the subset by directory or field",
        read=read_llmbar,
        official=official_llmbar,
        check=check_item,
    )
)
