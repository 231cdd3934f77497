"""ms-swift: the better conversation as `messages`, beside it the worse answer."""

from __future__ import annotations

from assay.data.records import Comparison, Group
from assay.data.strict_json import JsonObject
from assay.data.writers.holding import (
    as_dicts,
    conversation,
    identical,
    loses_seam,
    margin_of,
    refuses_arguments,
    refuses_messages,
    text_of,
)
from assay.data.writers.registry import Detail, LeftOut, answers, register_writer

_ROLES = ("system", "user", "assistant")


def _refuses(group: Group, comparison: Comparison) -> LeftOut | None:
    if identical(group, comparison):
        return LeftOut.IDENTICAL
    better, worse = answers(group, comparison)
    messages = [*group.prompt, *better.messages, *worse.messages]
    # The trainer takes tools of the rejected conversation from another field.
    held = _worse_is_a_text(group, comparison)
    return refuses_arguments(group, tools=held) or refuses_messages(messages, _ROLES)


def _worse_is_a_text(group: Group, comparison: Comparison) -> bool:
    """`rejected_response` replaces what stands behind the last user turn."""
    one_turn = all(
        len(response.messages) == 1 and response.messages[0].role == "assistant"
        for response in answers(group, comparison)
    )
    return one_turn and group.prompt[-1].role == "user"


@register_writer("ms-swift", keeps=(Detail.MARGIN,), refuses=_refuses, also_loses=loses_seam)
def write_ms_swift(group: Group, comparison: Comparison) -> JsonObject:
    """One row; an answer of several messages is written as a second whole conversation."""
    better, worse = answers(group, comparison)
    row: JsonObject = {"messages": as_dicts(conversation(group, better))}
    if _worse_is_a_text(group, comparison):
        row["rejected_response"] = text_of(worse)
    else:
        row["rejected_messages"] = as_dicts(conversation(group, worse))
    row |= margin_of(comparison)
    if group.tools:
        row["tools"] = list(group.tools)
    return row
