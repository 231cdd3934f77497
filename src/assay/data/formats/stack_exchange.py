"""StackExchange in pairs: a question, the better answer (j) and the worse one (k)."""

from __future__ import annotations

from assay.data.formats.beside import text_pair
from assay.data.formats.fields import text
from assay.data.formats.messages import user
from assay.data.formats.registry import FormatOptions, register_format
from assay.data.records import Comparison, Group, Source
from assay.data.strict_json import JsonObject


@register_format(
    "stack_exchange",
    fields="question, response_j (the better one), response_k",
    rank=70,
    detects=lambda row: "response_j" in row,
)
def read_stack_exchange(row: JsonObject, source: Source, options: FormatOptions) -> Group:
    """One row."""
    return text_pair(
        row,
        source,
        (user(text(row, "question")),),
        ("response_j", "response_k"),
        Comparison(0, 1, "a"),
        used=("question",),
    )
