"""Axolotl's Bradley-Terry rows: optional system, input, chosen, rejected."""

from __future__ import annotations

from assay.data.formats.answers import ANSWERS, chosen_and_rejected
from assay.data.formats.beside import chosen_over_rejected
from assay.data.formats.fields import require
from assay.data.formats.messages import read_turns, user
from assay.data.formats.registry import FormatOptions, register_format
from assay.data.records import Group, Source
from assay.data.strict_json import JsonObject


@register_format(
    "axolotl",
    fields="input, chosen, rejected, optional system",
    rank=140,
    detects=lambda row: {"input", "chosen"} <= row.keys() and row.get("prompt") is None,
)
def read_axolotl(row: JsonObject, source: Source, options: FormatOptions) -> Group:
    """One row. RewardBench's own `input` rows read the same, with their subset as a tag."""
    asked = read_turns(require(row, "input"), "input", user)
    parts = chosen_and_rejected(row, asked)
    return chosen_over_rejected(row, source, parts, used=("input", *ANSWERS), tags=("subset",))
