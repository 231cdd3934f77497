"""RewardBench 1 (Lambert et al., 2024) and its translation, M-RewardBench (Gureja et al., 2024)."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import partial
from pathlib import PurePath
from typing import Any

from assay.data.formats.fields import require, text
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
from assay.evaluate.benchmarks.counting import accuracies, by, mean_of_all, mean_of_present
from assay.evaluate.benchmarks.rows import group_by_format, id_of, item_of, stored_item
from assay.evaluate.benchmarks.sections import PRIOR_SETS, SECTIONS, SectionScores, section_scores
from assay.evaluate.stored_numbers import one_score

_KNOWN_SPLITS = (*PRIOR_SETS, "anthropic_harmless", "mtbench_gpt4", "mtbench_human")
"""Splits of the authors' second data set; there the name of the split is the subset."""


def read_rewardbench(row: JsonObject, source: Source) -> Item:
    """A row of `allenai/reward-bench`, or of `allenai/pref-test-sets` in a file named by split."""
    group = group_by_format("rewardbench", row, source)
    name = PurePath(source.file).name
    split = next((known for known in _KNOWN_SPLITS if name.startswith(known)), None)
    subset = split or text(row, "subset")
    return item_of(group, row, id=id_of(row, source), subset=subset, good=(0,))


def read_rewardbench_scores(row: JsonObject, source: Source) -> ScoredItem:
    """A row of `eval-set-scores/*.json`, or of a `*_outputs.jsonl` with subsets."""
    chosen, rejected = (
        one_score(require(row, field), field) for field in ("scores_chosen", "scores_rejected")
    )
    texts = row.get("text_chosen")
    return stored_item(
        row,
        source,
        id=id_of(row, source),
        subset=text(row, "subset"),
        good=(0,),
        rewards=(chosen, rejected),
        prompt=row.get("prompt") or (texts[:-1] if isinstance(texts, list) else None),
    )


def official_rewardbench(scored: Sequence[ScoredItem]) -> Official:
    """Sections by the authors' weights, and two parts each section with one part prior sets.

    A win is a strictly higher reward of the chosen response. Without prior sets the final score
    is that of the sections, as on the leaderboard.
    """
    accuracy = accuracies(scored)
    priors = [accuracy.get(name) for name in PRIOR_SETS]
    prior, present_prior = mean_of_all(priors), mean_of_present(priors)
    found = section_scores(accuracy, prior)
    present = section_scores(accuracy, present_prior)
    numbers = _numbers(found) | {"prior_sets": prior}
    numbers["over_present_subsets"] = {
        "sections": present.present_sections,
        "prior_sets": present_prior,
        "final": present.present_final,
    }
    numbers["final_without_prior_sets"] = section_scores(accuracy).final
    numbers["missing_subsets"] = [*found.missing]
    notes = _notes(found)
    known = {*_KNOWN_SPLITS, *(name for weights in SECTIONS.values() for name in weights)}
    if strangers := [name for name in accuracy if name not in known]:
        notes.append(f"subsets that RewardBench does not have, in no score: {', '.join(strangers)}")
    if prior is None:
        missing = [name for name in PRIOR_SETS if name not in accuracy]
        which = "all prior sets" if len(missing) == len(PRIOR_SETS) else ", ".join(missing)
        notes.append(f"missing: {which}; the final score is that of the four sections")
    sections = {name: Section(value, SECTIONS[name]) for name, value in found.sections.items()} | {
        "Prior sets": Section(prior, PRIOR_SETS)
    }
    return Official(
        "RewardBench score", found.final, numbers, dict(accuracy), tuple(notes), sections
    )


def read_multilingual(row: JsonObject, source: Source) -> Item:
    """A row of `C4AI-Community/multilingual-reward-bench`: its subset stands in `source`."""
    group = group_by_format("rewardbench", row, source)
    language = row.get("language")
    if not isinstance(language, str) or not language:
        raise DataError("there is no 'language'", mend="add it, as the published rows have it")
    subset = text(row, "source")
    labels = {"language": language}
    return item_of(group, row, id=id_of(row, source), subset=subset, good=(0,), labels=labels)


def official_multilingual(scored: Sequence[ScoredItem]) -> Official:
    """The formula of RewardBench for each language by itself, and the mean over languages."""
    languages: dict[str, dict[str, Any]] = {}
    notes: dict[str, list[str]] = {}
    finals = []
    for language, part in sorted(by(scored, lambda each: each.item.labels["language"]).items()):
        found = section_scores(accuracies(part))
        finals.append(found.final)
        languages[language] = _numbers(found) | {
            "final": found.final,
            "over_present_subsets": {
                "sections": found.present_sections,
                "final": found.present_final,
            },
            "missing_subsets": [*found.missing],
        }
        for note in _notes(found):
            notes.setdefault(note, []).append(language)
    value = mean_of_all(finals)
    return Official(
        "M-RewardBench score, mean over languages",
        value,
        {"by_language": languages},
        dict(accuracies(scored)),
        tuple(f"{', '.join(having)}: {note}" for note, having in notes.items()),
    )


def write_rewardbench(scored: Sequence[ScoredItem], model: ModelNote) -> dict[str, str]:
    """`eval-set/` (accuracy by subset) and `eval-set-scores/`; prior sets as `pref-sets`."""
    files: dict[str, str] = {}
    for folder, wanted in (("eval-set", False), ("pref-sets", True)):
        part = [each for each in scored if (each.item.subset in _KNOWN_SPLITS) is wanted]
        if not part:
            continue
        about = model_note(model)
        columns: dict[str, Any] = {
            "results": [int(each.is_strictly_right) for each in part],
            "subset": [each.item.subset for each in part],
            "id": [each.item.id for each in part],
            "scores_chosen": [each.rewards[0] for each in part],
            "scores_rejected": [each.rewards[1] for each in part],
        }
        groups = [each.item.group for each in part]
        for place, field in enumerate(("text_chosen", "text_rejected")):
            columns[field] = [
                None
                if group is None
                else [m.as_dict() for m in (*group.prompt, *group.responses[place].messages)]
                for group in groups
            ]
        name = file_name(model.name)
        files[f"{folder}/{name}.json"] = as_authors(about | accuracies(part))
        files[f"{folder}-scores/{name}.json"] = as_authors(about | columns)
    return files


def model_note(model: ModelNote) -> dict[str, Any]:
    """What RewardBench's files say of a model."""
    return {
        "model": model.name,
        "model_type": "Seq. Classifier",
        "chat_template": model.chat_template,
    }


def as_authors(value: dict[str, Any]) -> str:
    """JSON as RewardBench's scripts lay it out."""
    return json.dumps(value, indent=4, sort_keys=True, allow_nan=False)


def _numbers(found: SectionScores) -> dict[str, Any]:
    return {
        "sections": found.sections,
        "xstest_by_rows": {"Safety": found.safety_by_rows, "final": found.final_by_rows},
    }


def _notes(found: SectionScores) -> list[str]:
    if not found.missing:
        return []
    absent = ", ".join(name for name, value in found.sections.items() if value is None)
    return [
        f"missing subsets: {', '.join(found.missing)}; so there is no {absent} and no final score. "
        "The authors' code averages over what is there: over_present_subsets"
    ]


register_benchmark(
    Benchmark(
        name="rewardbench",
        title="RewardBench",
        reads="prompt, chosen, rejected, subset, id; prior sets in files named by their split",
        read=read_rewardbench,
        official=official_rewardbench,
        check=partial(check_item, good=(0,)),
        read_scores=read_rewardbench_scores,
        write_results=write_rewardbench,
    )
)
register_benchmark(
    Benchmark(
        name="m-rewardbench",
        title="M-RewardBench",
        reads="language, prompt, chosen, rejected, source, id",
        read=read_multilingual,
        official=official_multilingual,
        check=partial(check_item, good=(0,), labels={"language": ()}),
    )
)
