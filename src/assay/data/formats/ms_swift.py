"""ms-swift: a conversation with the good answer, and the rejected one beside it."""

from __future__ import annotations

from assay.data.cells import nested
from assay.data.formats.beside import chosen_over_rejected
from assay.data.formats.building import Messages, answer, split_conversations
from assay.data.formats.fields import as_text, require, wrong_type
from assay.data.formats.messages import assistant, behind_last_user, read_messages
from assay.data.formats.registry import FormatOptions, register_format
from assay.data.formats.sharegpt import read_tools
from assay.data.records import Group, Response, Source
from assay.data.strict_json import JsonObject

_REJECTED = ("rejected_response", "rejected_messages")


@register_format(
    "ms_swift",
    fields="messages, rejected_response or rejected_messages, optional system, margin, tools",
    rank=90,
    detects=lambda row: "messages" in row and any(field in row for field in _REJECTED),
)
def read_ms_swift(row: JsonObject, source: Source, options: FormatOptions) -> Group:
    """One row. A text replaces the last turn, a list all turns behind the last user's."""
    parts = _parts(row, read_messages(require(row, "messages"), "messages"))
    used = ("messages", *_REJECTED)
    return chosen_over_rejected(row, source, parts, used=used, tools=read_tools)


def _parts(row: JsonObject, messages: Messages) -> tuple[Messages, Response, Response]:
    rejected = nested(row.get("rejected_response"), "role")
    if rejected is None and row.get("rejected_messages") is not None:
        others = read_messages(row["rejected_messages"], "rejected_messages")
        return split_conversations(messages, others, ("messages", "rejected_messages"))
    if isinstance(rejected, str):
        turns: Messages = (assistant(as_text(rejected, "rejected_response")),)
        end = len(messages) - 1
    elif isinstance(rejected, list):
        turns = read_messages(rejected, "rejected_response")
        end = behind_last_user(messages)
    else:
        raise wrong_type("rejected_response", rejected, "text or a list of messages")
    return (
        messages[:end],
        answer(messages[end:], "messages"),
        answer(turns, "rejected_response"),
    )
