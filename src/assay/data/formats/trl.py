"""TRL preference rows: `chosen` and `rejected`, with an explicit prompt or without one."""

from __future__ import annotations

from assay.data.formats.building import Messages, answer, row_group, split_conversations
from assay.data.formats.fields import (
    optional_number,
    optional_tools,
    remaining,
    require,
    template_kwargs,
)
from assay.data.formats.messages import assistant, read_turns, user
from assay.data.formats.registry import FormatOptions, register_format
from assay.data.records import Comparison, Group, Response, Source
from assay.data.strict_json import JsonObject
from assay.errors import DataError

_USED = ("prompt", "chosen", "rejected", "margin", "tools", "chat_template_kwargs")


@register_format(
    "trl",
    fields="prompt, chosen, rejected as text or messages; or chosen, rejected as whole "
    "conversations; optional margin, tools, chat_template_kwargs",
    rank=50,
    detects=lambda row: "chosen" in row or "rejected" in row,
)
def read_trl(row: JsonObject, source: Source, options: FormatOptions) -> Group:
    """One row. With a prompt, `chosen` and `rejected` may repeat it (as UltraFeedback does)."""
    chosen, rejected = (
        read_turns(require(row, field), field, assistant) for field in ("chosen", "rejected")
    )
    if row.get("prompt") is None:
        prompt, *answers = _without_prompt(row, chosen, rejected)
    else:
        given = read_turns(row["prompt"], "prompt", user)
        prompt, *answers = _with_prompt(given, chosen, rejected)
    return row_group(
        source,
        prompt,
        tuple(answers),
        Comparison(0, 1, "a", margin=optional_number(row, "margin")),
        tools=optional_tools(row),
        template_kwargs=template_kwargs(row),
        extra=remaining(row, _USED),
    )


def _without_prompt(
    row: JsonObject, chosen: Messages, rejected: Messages
) -> tuple[Messages, Response, Response]:
    for field in ("chosen", "rejected"):
        if isinstance(row[field], str):
            raise DataError(
                f"'{field}' is text and there is no 'prompt', so the prompt cannot be found",
                mend="add a 'prompt' field, or write both as lists of messages",
            )
    return split_conversations(chosen, rejected)


def _with_prompt(
    prompt: Messages, chosen: Messages, rejected: Messages
) -> tuple[Messages, Response, Response]:
    repeats = [_repeats(prompt, messages) for messages in (chosen, rejected)]
    if all(repeats):
        return split_conversations(chosen, rejected)
    if any(repeats):
        raise DataError(
            "one of 'chosen' and 'rejected' repeats the prompt and the other does not",
            mend="write the answers alone in both",
        )
    return prompt, _alone(chosen, "chosen"), _alone(rejected, "rejected")


def _alone(messages: Messages, field: str) -> Response:
    if messages and messages[0].role not in ("assistant", "tool"):
        raise DataError(
            f"'{field}' begins with the role '{messages[0].role}' and does not repeat the prompt",
            mend="write the answer alone, or begin it with exactly the prompt",
        )
    return answer(messages, field)


def _repeats(prompt: Messages, messages: Messages) -> bool:
    """Whether a conversation begins with the prompt, behind a system message at most."""
    if messages and messages[0].role in ("system", "developer") and prompt[:1] != messages[:1]:
        messages = messages[1:]
    return bool(prompt) and messages[: len(prompt)] == prompt
