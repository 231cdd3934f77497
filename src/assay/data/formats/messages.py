"""Messages as OpenAI writes them, read into `Message`."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from assay.data.cells import literal, nested
from assay.data.formats.fields import as_objects, as_text, remaining, require, wrong_type
from assay.data.records import ROLES, Message
from assay.data.strict_json import JsonObject
from assay.errors import DataError

_ROLES = frozenset(ROLES)
_OWN_ROLE_NAMES = {"human": "user", "gpt": "assistant", "bot": "assistant", "function": "tool"}


def user(content: str) -> Message:
    """One user turn."""
    return Message("user", content)


def assistant(content: str) -> Message:
    """One assistant turn."""
    return Message("assistant", content)


def behind_last_user(messages: Sequence[Message]) -> int:
    """Where the answer begins in a conversation that holds one.

    Raises:
        DataError: nobody asks anything in it.
    """
    users = [index for index, message in enumerate(messages) if message.role == "user"]
    if not users:
        raise DataError("'messages' holds no user turn", mend="begin with the user's question")
    return users[-1] + 1


def read_turns(
    value: object, field: str, from_text: Callable[[str], Message]
) -> tuple[Message, ...]:
    """Turns of a conversation: a text (made a message by `from_text`), a message, or a list.

    Raises:
        DataError: it is none of these.
    """
    value = nested(value, "role")
    if isinstance(value, str):
        return (from_text(as_text(value, field)),)
    if isinstance(value, dict):
        return (read_message(value, field),)
    if isinstance(value, list):
        return read_messages(value, field)
    raise wrong_type(field, value, "text, a message or a list of messages")


def read_messages(value: object, field: str) -> tuple[Message, ...]:
    """A list of messages.

    Raises:
        DataError: it is no list, or one of them is no message.
    """
    value = literal(value)
    if not isinstance(value, list):
        raise wrong_type(field, value, "a list of messages")
    return tuple(
        _plain_message(item) or read_message(item, f"{field}[{index}]")
        for index, item in enumerate(value)
    )


def _plain_message(value: object) -> Message | None:
    """A known role with a text and nothing else, as nearly all messages are; else None."""
    if type(value) is not dict or len(value) != 2:
        return None
    role, content = value.get("role"), value.get("content")
    if type(role) is str and type(content) is str and role in _ROLES:
        return Message(role, content)
    return None


def read_message(value: object, field: str, *, content_key: str = "content") -> Message:
    """One message: role, content (text, or parts of text), tool calls, reasoning; the rest is kept.

    Args:
        value: what the row holds.
        field: how errors name it, as `messages[2]`.
        content_key: the key of the content.

    Raises:
        DataError: it is no object, its role is unknown, or a part of it has the wrong type.
    """
    if not isinstance(value, dict):
        raise wrong_type(field, value, f"a message {{'role': ..., '{content_key}': ...}}")
    tool_calls = as_objects(value.get("tool_calls"), f"{field}.tool_calls")
    reasoning = value.get("reasoning_content")
    if reasoning is not None:
        reasoning = as_text(reasoning, f"{field}.reasoning_content")
    used = ("role", content_key, "tool_calls", "reasoning_content")
    extra = remaining(value, used)
    return Message(
        role=_role(value, field),
        content=_content(value, field, content_key, optional=bool(tool_calls)),
        tool_calls=tool_calls,
        reasoning_content=reasoning,
        # Tables give every message each key that any message has, null where it has none.
        extra={key: item for key, item in extra.items() if item is not None},
    )


def _role(message: JsonObject, field: str) -> str:
    role = as_text(require(message, "role", within=field), f"{field}.role")
    if role not in ROLES:
        own = _OWN_ROLE_NAMES.get(role.lower(), role.lower())
        raise DataError(
            f"'{field}.role' is '{role[:40]}'",
            mend=f"write '{own}'" if own in ROLES else f"write one of {', '.join(ROLES)}",
        )
    return role


def _content(message: JsonObject, field: str, key: str, *, optional: bool) -> str:
    if optional and message.get(key) is None:
        return ""
    content, field = require(message, key, within=field), f"{field}.{key}"
    if isinstance(content, list):
        return "".join(_part(part, f"{field}[{index}]") for index, part in enumerate(content))
    return as_text(content, field)


def _part(part: object, field: str) -> str:
    if not isinstance(part, dict):
        raise wrong_type(field, part, "a part {'type': 'text', 'text': ...}")
    kind = as_text(require(part, "type", within=field), f"{field}.type")
    if kind != "text":
        raise DataError(
            f"'{field}' is a part of type '{kind[:40]}', and only text can be read",
            mend="leave out rows with such parts",
        )
    return as_text(require(part, "text", within=field), f"{field}.text")
