"""Messages with `value`, whose last one holds both answers."""

from __future__ import annotations

from assay.data.records import ROLES, Comparison, Group
from assay.data.strict_json import JsonObject
from assay.data.writers.holding import refuses_pair, text_of
from assay.data.writers.registry import LeftOut, answers, register_writer


def _refuses(group: Group, comparison: Comparison) -> LeftOut | None:
    return refuses_pair(group, comparison, ROLES)


@register_writer("messages", refuses=_refuses)
def write_valued_messages(group: Group, comparison: Comparison) -> JsonObject:
    """One row."""
    better, worse = answers(group, comparison)
    turns: list[JsonObject] = [{"role": turn.role, "value": turn.content} for turn in group.prompt]
    last: JsonObject = {
        "role": "assistant",
        "chosen_value": text_of(better),
        "rejected_value": text_of(worse),
    }
    return {"messages": [*turns, last]}
