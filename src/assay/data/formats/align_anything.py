"""align-anything's text preferences: a question, two responses and which is better overall."""

from __future__ import annotations

from assay.data.formats.beside import text_pair
from assay.data.formats.fields import choice, text
from assay.data.formats.messages import user
from assay.data.formats.registry import FormatOptions, register_format
from assay.data.records import Comparison, Group, Outcome, Source
from assay.data.strict_json import JsonObject

_OUTCOMES: dict[int | str, Outcome] = {1: "a", 2: "b"}


@register_format(
    "align_anything",
    fields="question, response_1, response_2, overall_response (1 or 2)",
    rank=34,
    detects=lambda row: "overall_response" in row and "response_1" in row,
    two_way=True,
)
def read_align_anything(row: JsonObject, source: Source, options: FormatOptions) -> Group:
    """One row; the question may be called prompt."""
    asked = "prompt" if "prompt" in row and "question" not in row else "question"
    return text_pair(
        row,
        source,
        (user(text(row, asked)),),
        ("response_1", "response_2"),
        Comparison(0, 1, choice(row, "overall_response", _OUTCOMES)),
        used=(asked, "overall_response"),
    )
