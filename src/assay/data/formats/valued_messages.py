"""Messages whose last one holds both answers, as `chosen_value` and `rejected_value`."""

from __future__ import annotations

from assay.data.formats.beside import chosen_over_rejected
from assay.data.formats.building import text_answer
from assay.data.formats.fields import as_objects, require
from assay.data.formats.messages import read_message
from assay.data.formats.registry import FormatOptions, register_format
from assay.data.records import Group, Response, Source
from assay.data.strict_json import JsonObject
from assay.errors import DataError

_ANSWERS = ("chosen_value", "rejected_value")


def _detects(row: JsonObject) -> bool:
    messages = row.get("messages")
    return isinstance(messages, list) and any(
        isinstance(message, dict) and any(key in message for key in _ANSWERS)
        for message in messages
    )


@register_format(
    "valued_messages",
    fields="messages with value, the last one with chosen_value and rejected_value",
    rank=20,
    detects=_detects,
)
def read_valued_messages(row: JsonObject, source: Source, options: FormatOptions) -> Group:
    """One row; the last message gives the two answers, the others the prompt."""
    messages = as_objects(require(row, "messages"), "messages")
    if not messages:
        raise DataError("'messages' is empty", mend="write the question and its two answers")
    last = len(messages) - 1
    prompt = tuple(
        read_message(message, f"messages[{index}]", content_key="value")
        for index, message in enumerate(messages[:last])
    )
    chosen, rejected = (_answer(messages[last], key, f"messages[{last}]") for key in _ANSWERS)
    return chosen_over_rejected(row, source, (prompt, chosen, rejected), used=("messages",))


def _answer(message: JsonObject, key: str, field: str) -> Response:
    if message.get("role") != "assistant":
        raise DataError(
            f"'{field}' holds the answers and is not the assistant's",
            mend=f"set '{field}.role' to 'assistant'",
        )
    return text_answer(message, key, within=field)
