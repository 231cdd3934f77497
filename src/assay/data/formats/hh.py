r"""hh-rlhf: two whole conversations as text, turns marked by `\n\nHuman:` and `\n\nAssistant:`."""

from __future__ import annotations

import re

from assay.data.formats.answers import ANSWERS
from assay.data.formats.beside import chosen_over_rejected
from assay.data.formats.building import split_conversations
from assay.data.formats.fields import text
from assay.data.formats.registry import FormatOptions, register_format
from assay.data.records import Group, Message, Source
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
    chosen, rejected = (read_transcript(text(row, field), field) for field in ANSWERS)
    parts = split_conversations(chosen, rejected)
    return chosen_over_rejected(row, source, parts, used=ANSWERS)


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
