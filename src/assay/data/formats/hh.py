r"""hh-rlhf: two whole conversations as text, turns marked by `\n\nHuman:` and `\n\nAssistant:`."""

from __future__ import annotations

import re

from assay.data.formats.beside import group_of_row
from assay.data.formats.building import split_conversations
from assay.data.formats.fields import text
from assay.data.formats.registry import FormatOptions, register_format
from assay.data.records import Comparison, Group, Message, Source
from assay.data.strict_json import JsonObject
from assay.errors import DataError

HUMAN = "\n\nHuman:"
"""How such a text begins."""

_TURN = re.compile(r"\n\n(Human|Assistant):")
_ROLES = {"Human": "user", "Assistant": "assistant"}


def _detects(row: JsonObject) -> bool:
    texts = (row.get("chosen"), row.get("rejected"))
    return any(isinstance(value, str) and value.startswith(HUMAN) for value in texts)


@register_format(
    "hh",
    fields=r"chosen and rejected, texts that begin with \n\nHuman:",
    rank=150,
    detects=_detects,
)
def read_hh(row: JsonObject, source: Source, options: FormatOptions) -> Group:
    """One row. As in the published data, answers can be empty and a role can speak twice."""
    chosen_turns, rejected_turns = (
        read_transcript(text(row, field), field) for field in ("chosen", "rejected")
    )
    prompt, chosen, rejected = split_conversations(chosen_turns, rejected_turns)
    return group_of_row(
        row,
        source,
        prompt,
        (chosen, rejected),
        Comparison(0, 1, "a"),
        used=("chosen", "rejected"),
    )


def read_transcript(conversation: str, field: str) -> tuple[Message, ...]:
    """The turns of a conversation that is written as one text.

    Raises:
        DataError: it does not begin with a human turn.
    """
    if not conversation.startswith(HUMAN):
        raise DataError(
            f"'{field}' does not begin with a human turn", mend=r"begin it with \n\nHuman:"
        )
    _, *pieces = _TURN.split(conversation)
    return tuple(
        Message(_ROLES[name], content.strip())
        for name, content in zip(pieces[::2], pieces[1::2], strict=True)
    )
