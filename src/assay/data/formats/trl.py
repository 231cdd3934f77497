"""TRL preference rows: `chosen` and `rejected`, with an explicit prompt or without one."""

from __future__ import annotations

from assay.data.formats.answers import ANSWERS, chosen_and_rejected
from assay.data.formats.beside import group_of_row
from assay.data.formats.building import Messages
from assay.data.formats.fields import tags_of
from assay.data.formats.messages import read_turns, user
from assay.data.formats.registry import FormatOptions, register_format
from assay.data.records import Comparison, Group, Source
from assay.data.strict_json import JsonObject


@register_format(
    "trl",
    fields="prompt, chosen, rejected as text or messages; or chosen, rejected as whole "
    "conversations; optional margin, tools, chat_template_kwargs",
    rank=200,
    detects=lambda row: "chosen" in row or "rejected" in row,
)
def read_trl(row: JsonObject, source: Source, options: FormatOptions) -> Group:
    """One row. With a prompt, `chosen` and `rejected` may repeat it.

    So do OpenRLHF, Skywork and Tulu 3 write theirs; their `source` is a tag.
    """
    prompt, chosen, rejected = chosen_and_rejected(row, prompt_of(row))
    tags = tags_of(row, "source")
    return group_of_row(
        row,
        source,
        prompt,
        (chosen, rejected),
        Comparison(0, 1, "a", tags=tags),
        used=("prompt", *ANSWERS, *tags),
    )


def prompt_of(row: JsonObject) -> Messages | None:
    """`prompt` as text or messages; None where it is missing or null.

    Raises:
        DataError: it is something else.
    """
    prompt = row.get("prompt")
    return None if prompt is None else read_turns(prompt, "prompt", user)
