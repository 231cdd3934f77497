"""What is known of each answer before its text is forgotten: how long it is, and a hash."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal, NamedTuple

from assay.data.records import Message, prompt_key
from assay.serve.items import Asked, Conversation, Text

Unit = Literal["characters of the answer", "characters of the text", "tokens of the text"]
"""What a length counts: of a text whose prompt is not known, prompt and answer together."""


class Answer(NamedTuple):
    """An answer without its text; equal answers have equal hashes, in this process only."""

    hash: int
    length: int
    unit: Unit


def answers_of(asked: Asked) -> Iterator[Answer]:
    """The answers of a request, in the order of its rewards."""
    for item in asked.items:
        if isinstance(item, Conversation):
            for response in item.group.responses:
                yield _said(response.messages)
        elif isinstance(item, Text):
            if item.prompt:
                answer = item.text[len(item.prompt) :]
                yield Answer(hash(answer), len(answer), "characters of the answer")
            else:
                yield Answer(hash(item.text), len(item.text), "characters of the text")
        else:
            yield Answer(hash(item.ids), len(item.ids), "tokens of the text")


def _said(messages: tuple[Message, ...]) -> Answer:
    if len(messages) == 1 and messages[0].is_plain:
        content = messages[0].content
        return Answer(hash(content), len(content), "characters of the answer")
    length = sum(len(m.content) + len(m.reasoning_content or "") for m in messages)
    return Answer(hash(prompt_key(messages)), length, "characters of the answer")
