r"""hh-rlhf: two whole conversations as text, turns marked by `\n\nHuman:` and `\n\nAssistant:`."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

from assay.data.records import Comparison, Group, Message
from assay.data.strict_json import JsonObject
from assay.data.writers.holding import conversation, loses_seam, refuses_arguments, refuses_messages
from assay.data.writers.registry import Detail, LeftOut, answers, register_writer

_NAMES = {"user": "Human", "assistant": "Assistant"}
_MARK = re.compile(r"\n\n(Human|Assistant):")


def _refuses(group: Group, comparison: Comparison) -> LeftOut | None:
    better, worse = answers(group, comparison)
    messages = [*group.prompt, *better.messages, *worse.messages]
    refused = refuses_arguments(group) or refuses_messages(messages, tuple(_NAMES))
    if refused is not None:
        return refused
    if group.prompt[0].role != "user":
        return LeftOut.ROLE
    if any(_MARK.search(message.content) for message in messages):
        return LeftOut.MARKS
    if not any(message.content.strip() for message in group.prompt):
        return LeftOut.BLANK
    if better.messages != worse.messages and _stripped(better.messages) == _stripped(
        worse.messages
    ):
        return LeftOut.IDENTICAL
    return None


def _also_loses(group: Group, comparison: Comparison) -> list[Detail]:
    pair = answers(group, comparison)
    messages = [*group.prompt, *(message for answer in pair for message in answer.messages)]
    stripped = replace(
        group,
        responses=tuple(
            replace(response, messages=tuple(_stripped(response.messages)))
            for response in group.responses
        ),
    )
    space = any(message.content != message.content.strip() for message in messages)
    return [*loses_seam(stripped, comparison), *([Detail.SPACE] if space else [])]


def _stripped(messages: Sequence[Message]) -> list[Message]:
    return [replace(message, content=message.content.strip()) for message in messages]


def _text(messages: Sequence[Message]) -> str:
    return "".join(f"\n\n{_NAMES[message.role]}: {message.content}" for message in messages)


@register_writer("hh", refuses=_refuses, also_loses=_also_loses)
def write_hh(group: Group, comparison: Comparison) -> JsonObject:
    """One row."""
    better, worse = answers(group, comparison)
    return {
        "chosen": _text(conversation(group, better)),
        "rejected": _text(conversation(group, worse)),
    }
