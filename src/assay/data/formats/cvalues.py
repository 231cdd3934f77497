"""CValues-Comparison: a prompt, a better and a worse response, and the type of each."""

from __future__ import annotations

from assay.data.formats.beside import group_of_row
from assay.data.formats.building import answer
from assay.data.formats.fields import as_text, text
from assay.data.formats.messages import assistant, user
from assay.data.formats.registry import FormatOptions, register_format
from assay.data.records import Comparison, Group, Source
from assay.data.strict_json import JsonObject

_TYPES = ("pos_type", "neg_type")


@register_format(
    "cvalues",
    fields="prompt, pos_resp, neg_resp",
    rank=10,
    detects=lambda row: "pos_resp" in row or "neg_resp" in row,
)
def read_cvalues(row: JsonObject, source: Source, options: FormatOptions) -> Group:
    """One row; the published file has stray spaces around its texts, so all are stripped."""
    prompt, better, worse = (text(row, key).strip() for key in ("prompt", "pos_resp", "neg_resp"))
    tags = {key: as_text(row[key], key).strip() for key in _TYPES if row.get(key) is not None}
    return group_of_row(
        row,
        source,
        (user(prompt),),
        (answer((assistant(better),), "pos_resp"), answer((assistant(worse),), "neg_resp")),
        Comparison(0, 1, "a", tags=tags),
        used=("prompt", "pos_resp", "neg_resp", *_TYPES),
    )
