"""What bodies of several protocols ask with: texts, token ids, messages."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from assay.data.formats.building import answer, row_group
from assay.data.formats.messages import read_messages
from assay.data.records import Message, Source
from assay.errors import AssayError
from assay.serve.items import MESSAGES, Conversation, Ids, Item, Text
from assay.serve.protocols.registry import Listed
from assay.serve.refusals import Refusal, of_error

Input = str | Listed[str] | Listed[int] | Listed[Listed[int]]
"""A text, several, the token ids of one, or of several."""

_REQUEST = Source("request", 1)


def items_of_input(value: Input, field: str, *, begin: bool) -> tuple[Item, ...]:
    """What an `input` asks to have scored.

    Raises:
        Refusal: it is empty.
    """
    if isinstance(value, str):
        return (Text(value, field, begin),)
    if not value:
        raise Refusal(422, "is empty", param=field, mend="send at least one text")
    if isinstance(value[0], int):
        return (Ids(tuple(value), field),)
    return tuple(
        Text(one, f"{field}[{place}]", begin)
        if isinstance(one, str)
        else Ids(tuple(one), f"{field}[{place}]")  # type: ignore[arg-type]
        for place, one in enumerate(value)
    )


def conversation(
    messages: Sequence[dict[str, Any]],
    *,
    tools: list[dict[str, Any]] | None = None,
    kwargs: dict[str, Any] | None = None,
) -> Conversation:
    """A conversation whose turns behind the last user turn are the response.

    Raises:
        Refusal: a message is none, or there is no response.
    """
    turns = read(MESSAGES, messages)
    users = [place for place, message in enumerate(turns) if message.role == "user"]
    if not users:
        raise Refusal(422, "holds no user turn", param=MESSAGES, mend="begin with the question")
    behind = users[-1] + 1
    field = f"{MESSAGES}[{behind}]" if behind + 1 == len(turns) else MESSAGES
    return grouped(turns[:behind], [turns[behind:]], [field], tools=tools, kwargs=kwargs)


def read(field: str, value: object) -> tuple[Message, ...]:
    """Messages of a body.

    Raises:
        Refusal: they are none.
    """
    try:
        return read_messages(value, field)
    except AssayError as error:
        raise of_error(error, field) from None


def grouped(
    prompt: tuple[Message, ...],
    responses: Sequence[tuple[Message, ...]],
    fields: Sequence[str],
    *,
    prompt_field: str = MESSAGES,
    tools: list[dict[str, Any]] | None = None,
    kwargs: dict[str, Any] | None = None,
) -> Conversation:
    """A prompt with responses.

    Args:
        prompt: its messages.
        responses: of each its messages.
        fields: how the body calls each response.
        prompt_field: how it calls the prompt.
        tools: of the prompt.
        kwargs: variables of the model's own template.

    Raises:
        Refusal: the prompt is empty, a response holds no answer, or `kwargs` are not for templates.
    """
    reserved = sorted(_RESERVED & (kwargs or {}).keys())
    if reserved:
        raise Refusal(
            422,
            f"'{reserved[0]}' decides how a text is rendered, which is the model's own affair",
            param="chat_template_kwargs",
            mend="leave it out",
        )
    found = []
    for turns, field in zip(responses, fields, strict=True):
        try:
            found.append(answer(turns, field))
        except AssayError as error:
            raise of_error(error, field) from None
    try:
        group = row_group(
            _REQUEST,
            prompt,
            tuple(found),
            tools=tuple(tools) if tools else None,
            template_kwargs=kwargs,
        )
    except AssayError:
        raise Refusal(
            422, "the prompt is empty", param=prompt_field, mend="write the question"
        ) from None
    return Conversation(group, tuple(fields), prompt_field)


_RESERVED = frozenset(
    {
        *("conversation", "messages", "tools", "documents", "chat_template", "tokenize"),
        *("add_generation_prompt", "continue_final_message", "padding", "truncation"),
        *("max_length", "return_tensors", "return_dict", "return_assistant_tokens_mask"),
        *("tokenizer_kwargs", "bos_token", "eos_token", "pad_token", "unk_token"),
    }
)
"""What transformers takes besides a template's own variables."""
