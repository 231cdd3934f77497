"""UltraFeedback: its raw form with rated completions, and its pairs with two scores."""

from __future__ import annotations

from dataclasses import replace

from assay.data.formats.answers import ANSWERS, chosen_and_rejected
from assay.data.formats.beside import group_of_row
from assay.data.formats.building import text_answer
from assay.data.formats.fields import as_number, as_objects, optional_number, require, tags_of, text
from assay.data.formats.messages import user
from assay.data.formats.registry import FormatOptions, register_format
from assay.data.formats.trl import prompt_of
from assay.data.grouping import comparisons_from_ratings
from assay.data.records import Comparison, Group, Response, Source
from assay.data.strict_json import JsonObject
from assay.errors import DataError

_SCORES = ("overall_score", "fine-grained_score")
_ASPECTS = ("helpfulness", "honesty", "instruction_following", "truthfulness")
_PAIRS = (
    ("score_chosen", "score_rejected"),
    ("chosen_score", "rejected_score"),
    ("chosen_rating", "rejected_rating"),
    ("chosen-rating", "rejected-rating"),
)


def _detects_completions(row: JsonObject) -> bool:
    completions = row.get("completions")
    return "instruction" in row and isinstance(completions, list)


@register_format(
    "ultrafeedback",
    fields="instruction, completions (each with response, overall_score, annotations)",
    rank=110,
    detects=_detects_completions,
    labels=(*_SCORES, *_ASPECTS),
)
def read_ultrafeedback(row: JsonObject, source: Source, options: FormatOptions) -> Group:
    """One row; each two completions are compared by the rating that the label names."""
    completions = as_objects(require(row, "completions"), "completions")
    if not completions:
        raise DataError("'completions' is empty", mend="leave out rows without completions")
    tags = tags_of(row, "source")
    group = group_of_row(
        row,
        source,
        (user(text(row, "instruction")),),
        tuple(
            _completion(completion, f"completions[{index}]")
            for index, completion in enumerate(completions)
        ),
        used=("instruction", "completions", *tags),
    )
    comparisons = comparisons_from_ratings(group, options.label or _SCORES[0])
    return replace(group, comparisons=tuple(replace(c, tags=tags) for c in comparisons))


def _completion(completion: JsonObject, field: str) -> Response:
    response = text_answer(completion, "response", within=field)
    found = {name: optional_number(completion, name, within=field) for name in _SCORES}
    annotations = completion.get("annotations")
    if isinstance(annotations, dict):
        for aspect in _ASPECTS:
            found[aspect] = _rating(annotations.get(aspect), f"{field}.annotations.{aspect}")
    return replace(
        response,
        ratings={name: value for name, value in found.items() if value is not None},
        tags=tags_of(completion, "model", "principle"),
    )


def _rating(annotation: object, field: str) -> float | None:
    """An aspect's rating, a number that may be written as text; `N/A` stands for none."""
    rating: object = annotation.get("Rating") if isinstance(annotation, dict) else None
    if rating is None or rating == "N/A":
        return None
    if not isinstance(rating, str):
        return as_number(rating, f"{field}.Rating")
    try:
        return as_number(float(rating), f"{field}.Rating")
    except ValueError:
        raise DataError(
            f"'{field}.Rating' is '{rating[:40]}', not a number", mend="write a number or N/A"
        ) from None


def _scores_of(row: JsonObject) -> tuple[str, str] | None:
    for pair in _PAIRS:
        if pair[0] in row and pair[1] in row:
            return pair
    return None


@register_format(
    "ultrafeedback_binarized",
    fields="chosen, rejected, score_chosen, score_rejected, optional prompt",
    rank=180,
    detects=lambda row: "chosen" in row and _scores_of(row) is not None,
)
def read_binarized(row: JsonObject, source: Source, options: FormatOptions) -> Group:
    """One row. The margin is the difference of the scores where none is given; equal ones tie.

    Where the rejected answer scores higher, the row contradicts itself: chosen wins, no margin.
    """
    prompt, *responses = chosen_and_rejected(row, prompt_of(row))
    fields = _scores_of(row) or _PAIRS[0]
    scores = [optional_number(row, field) for field in fields]
    rated = tuple(
        replace(response, ratings={} if score is None else {"score": score})
        for response, score in zip(responses, scores, strict=True)
    )
    return group_of_row(
        row,
        source,
        prompt,
        rated,
        _comparison(scores, optional_number(row, "margin")),
        used=("prompt", "margin", *ANSWERS, *fields),
        tags=("source",),
    )


def _comparison(scores: list[float | None], margin: float | None) -> Comparison:
    chosen, rejected = scores
    if chosen is None or rejected is None or chosen < rejected:
        return Comparison(0, 1, "a", margin=margin)
    return Comparison(
        0,
        1,
        "tie" if chosen == rejected else "a",
        margin=chosen - rejected if margin is None else margin,
    )
