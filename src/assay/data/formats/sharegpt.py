"""ShareGPT turns (`from`, `value`), and functions as LLaMA-Factory writes them."""

from __future__ import annotations

from assay.data.cells import literal, nested
from assay.data.formats.beside import optional_tools
from assay.data.formats.building import Messages
from assay.data.formats.fields import as_json, as_objects, as_text, require, wrong_type
from assay.data.formats.messages import assistant, read_message
from assay.data.records import Message
from assay.data.strict_json import JsonObject
from assay.errors import DataError

_ROLES = {
    "human": "user",
    "user": "user",
    "gpt": "assistant",
    "assistant": "assistant",
    "system": "system",
    "observation": "tool",
    "tool": "tool",
}
_CALL = "function_call"


def read_conversation(value: object, field: str) -> Messages:
    """A list of turns.

    Raises:
        DataError: it is no list, or one of them is no turn.
    """
    value = literal(value)
    if not isinstance(value, list):
        raise wrong_type(field, value, "a list of turns {'from': ..., 'value': ...}")
    return tuple(read_turn(turn, f"{field}[{index}]") for index, turn in enumerate(value))


def read_answer(value: object, field: str) -> Messages:
    """An answer: text, one turn or a list of turns.

    Raises:
        DataError: it is none of these.
    """
    value = nested(value, "from", "role")
    if isinstance(value, str):
        return (assistant(as_text(value, field)),)
    if isinstance(value, list):
        return read_conversation(value, field)
    return (read_turn(value, field),)


def read_turn(value: object, field: str) -> Message:
    """One turn. `observation` is a tool's, `function_call` an assistant's that calls tools.

    Raises:
        DataError: it is no object, its role is unknown, or its content is not text.
    """
    if not isinstance(value, dict):
        raise wrong_type(field, value, "a turn {'from': ..., 'value': ...}")
    if "from" not in value and "role" in value:
        return read_message(value, field)
    role = as_text(require(value, "from", within=field), f"{field}.from")
    content = as_text(require(value, "value", within=field), f"{field}.value")
    if role == _CALL:
        return Message("assistant", "", tool_calls=_calls(content, f"{field}.value"))
    if role not in _ROLES:
        raise DataError(
            f"'{field}.from' is '{role[:40]}'",
            mend=f"write one of {', '.join((*_ROLES, _CALL))}",
        )
    return Message(_ROLES[role], content)


def read_tools(row: JsonObject) -> tuple[JsonObject, ...] | None:
    """`tools`: a list of functions, or that list as JSON text; None where there are none.

    Raises:
        DataError: it is something else.
    """
    functions = optional_tools(row)
    return None if functions is None else tuple(_tool(function) for function in functions)


def _tool(function: JsonObject) -> JsonObject:
    """Chat templates read functions inside an object that says so."""
    return function if "function" in function else {"type": "function", "function": function}


def _calls(text: str, field: str) -> tuple[JsonObject, ...]:
    value = as_json(text, field)
    calls = as_objects(value if isinstance(value, list) else [value], field)
    for call in calls:
        as_text(require(call, "name", within=field), f"{field}.name")
    return tuple({"type": "function", "function": call} for call in calls)
