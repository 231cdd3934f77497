"""TRL's unpaired rows: a prompt, one completion, and whether it is good."""

from __future__ import annotations

from dataclasses import replace

from assay.data.cells import literal
from assay.data.formats.beside import group_of_row
from assay.data.formats.building import answer
from assay.data.formats.fields import (
    require,
    wrong_type,
)
from assay.data.formats.messages import assistant, read_turns, user
from assay.data.formats.registry import FormatOptions, register_format
from assay.data.records import Group, Source
from assay.data.strict_json import JsonObject


@register_format(
    "trl_unpaired",
    fields="prompt, completion, label (true or false)",
    rank=116,
    detects=lambda row: "completion" in row and "label" in row,
    labels=("label",),
    rated=True,
)
def read_trl_unpaired(row: JsonObject, source: Source, options: FormatOptions) -> Group:
    """One row: a response rated 1 or 0. A completion without a label is not rated."""
    response = answer(read_turns(require(row, "completion"), "completion", assistant), "completion")
    label = literal(row.get("label"))
    if label is not None and label not in (0, 1):
        raise wrong_type("label", label, "true or false")
    return group_of_row(
        row,
        source,
        read_turns(require(row, "prompt"), "prompt", user),
        (replace(response, ratings={} if label is None else {"label": float(bool(label))}),),
        used=("prompt", "completion", "label"),
    )
