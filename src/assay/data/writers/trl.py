"""TRL: the prompt and both answers as lists of messages (explicit prompt, conversational)."""

from __future__ import annotations

from assay.data.records import Comparison, Group
from assay.data.strict_json import JsonObject
from assay.data.writers.holding import as_dicts, margin_of
from assay.data.writers.registry import Detail, LeftOut, answers, register_writer


def _refuses(group: Group, comparison: Comparison) -> LeftOut | None:
    for response in answers(group, comparison):
        if response.messages[0].role not in ("assistant", "tool"):
            return LeftOut.OPENING
        if response.messages[: len(group.prompt)] == group.prompt:
            return LeftOut.REPEATED
    return None


@register_writer("trl", keeps=(Detail.MARGIN,), refuses=_refuses)
def write_trl(group: Group, comparison: Comparison) -> JsonObject:
    """One row; `chosen` and `rejected` hold the answers alone."""
    better, worse = answers(group, comparison)
    row: JsonObject = {
        "prompt": as_dicts(group.prompt),
        "chosen": as_dicts(better.messages),
        "rejected": as_dicts(worse.messages),
        **margin_of(comparison),
    }
    if group.tools:
        row["tools"] = list(group.tools)
    if group.template_kwargs:
        row["chat_template_kwargs"] = group.template_kwargs
    return row
