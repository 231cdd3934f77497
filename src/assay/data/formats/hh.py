r"""hh-rlhf: two whole conversations as text, turns marked by `\n\nHuman:` and `\n\nAssistant:`."""

from __future__ import annotations

import re

from assay.data.formats.building import row_group, split_conversations
from assay.data.formats.fields import remaining, text
from assay.data.formats.registry import FormatOptions, register_format
from assay.data.records import Comparison, Group, Message, Source
from assay.data.strict_json import JsonObject
from assay.errors import DataError

_START = "\n\nHuman:"
_TURN = re.compile(r"\n\n(Human|Assistant):")
_ROLES = {"Human": "user", "Assistant": "assistant"}


def _detects(row: JsonObject) -> bool:
    texts = (row.get("chosen"), row.get("rejected"))
    return any(isinstance(value, str) and value.startswith(_START) for value in texts)


@register_format(
    "hh", fields=r"chosen and rejected, texts that begin with \n\nHuman:", rank=40, detects=_detects
)
def read_hh(row: JsonObject, source: Source, options: FormatOptions) -> Group:
    """One row. As in the published data, answers can be empty and a role can speak twice."""
    prompt, chosen, rejected = split_conversations(_turns(row, "chosen"), _turns(row, "rejected"))
    extra = remaining(row, ("chosen", "rejected"))
    return row_group(source, prompt, (chosen, rejected), Comparison(0, 1, "a"), extra=extra)


def _turns(row: JsonObject, field: str) -> tuple[Message, ...]:
    conversation = text(row, field)
    if not conversation.startswith(_START):
        raise DataError(
            f"'{field}' does not begin with a human turn", mend=r"begin it with \n\nHuman:"
        )
    _, *pieces = _TURN.split(conversation)
    return tuple(
        Message(_ROLES[name], content.strip())
        for name, content in zip(pieces[::2], pieces[1::2], strict=True)
    )
