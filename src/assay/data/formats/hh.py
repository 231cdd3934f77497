r"""hh-rlhf: two whole conversations as text, turns marked by `\n\nHuman:` and `\n\nAssistant:`."""

from __future__ import annotations

import re

from assay.data.formats.answers import ANSWERS
from assay.data.formats.beside import chosen_over_rejected
from assay.data.formats.building import Messages, split_conversations
from assay.data.formats.fields import text
from assay.data.formats.messages import assistant, read_turns, user
from assay.data.formats.registry import FormatOptions, register_format
from assay.data.records import Group, Message, Source
from assay.data.strict_json import JsonObject
from assay.errors import DataError

_HUMAN = "\n\nHuman:"
"""How such a text begins."""
_TURN = re.compile(r"\n\n(Human|Assistant):")
_ROLES = {"Human": "user", "Assistant": "assistant"}


def _detects(row: JsonObject) -> bool:
    texts = (row.get("chosen"), row.get("rejected"))
    return any(isinstance(value, str) and value.startswith(_HUMAN) for value in texts)


@register_format(
    "hh",
    fields=r"chosen and rejected, texts that begin with \n\nHuman:",
    rank=150,
    detects=_detects,
)
def read_hh(row: JsonObject, source: Source, options: FormatOptions) -> Group:
    """One row. As in the published data, answers can be empty and a role can speak twice."""
    chosen, rejected = (_turns(text(row, field), field) for field in ANSWERS)
    parts = split_conversations(chosen, rejected)
    return chosen_over_rejected(row, source, parts, used=ANSWERS)


def read_prompt(value: object, field: str) -> Messages:
    """A prompt as text or messages; a text of turns ends where the answer begins.

    Raises:
        DataError: it is something else.
    """
    if not (isinstance(value, str) and value.startswith(_HUMAN)):
        return read_turns(value, field, user)
    turns = _turns(value, field)
    return turns[:-1] if turns[-1] == assistant("") else turns


def _turns(conversation: str, field: str) -> Messages:
    """The turns of a conversation that is written as one text."""
    if not conversation.startswith(_HUMAN):
        raise DataError(
            f"'{field}' does not begin with a human turn", mend=r"begin it with \n\nHuman:"
        )
    _, *pieces = _TURN.split(conversation)
    return tuple(
        Message(_ROLES[name], content.strip())
        for name, content in zip(pieces[::2], pieces[1::2], strict=True)
    )
