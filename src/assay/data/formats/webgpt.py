"""WebGPT comparisons: a question, two answers, and a score each."""

from __future__ import annotations

from dataclasses import replace

from assay.data.cells import nested
from assay.data.formats.beside import group_of_row
from assay.data.formats.building import preference, text_answer
from assay.data.formats.fields import as_text, number, remaining, require, tags_of, text, wrong_type
from assay.data.formats.messages import user
from assay.data.formats.registry import FormatOptions, register_format
from assay.data.records import Group, Source
from assay.data.strict_json import JsonObject

_ANSWERS = ("answer_0", "answer_1")
_SCORES = ("score_0", "score_1")


@register_format(
    "webgpt",
    fields="question (with full_text), answer_0, answer_1, score_0, score_1",
    rank=60,
    detects=lambda row: "score_0" in row and "answer_0" in row,
    two_way=True,
)
def read_webgpt(row: JsonObject, source: Source, options: FormatOptions) -> Group:
    """One row; the higher score wins, equal ones tie, and the margin is their difference."""
    scores = [number(row, field) for field in _SCORES]
    responses = tuple(
        replace(text_answer(row, field), ratings={"score": score})
        for field, score in zip(_ANSWERS, scores, strict=True)
    )
    question = nested(require(row, "question"), "full_text")
    tags: dict[str, str] = {}
    beside: JsonObject = {}
    if isinstance(question, dict):
        tags = tags_of(question, "dataset")
        beside = {"question": remaining(question, ("full_text", *tags))}
        content = text(question, "full_text", within="question")
    elif isinstance(question, str):
        content = as_text(question, "question")
    else:
        raise wrong_type("question", question, "an object with 'full_text'")
    group = group_of_row(
        row,
        source,
        (user(content),),
        responses,
        replace(preference(scores[1] - scores[0]), tags=tags),
        used=("question", *_ANSWERS, *_SCORES),
    )
    return replace(group, extra=beside | group.extra)
