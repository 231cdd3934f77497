"""HelpSteer: ratings of single responses (2), and preferences with a sign (2 and 3)."""

from __future__ import annotations

import re
from dataclasses import replace

from assay.data.formats.beside import group_of_row, text_pair
from assay.data.formats.building import Messages, preference, text_answer
from assay.data.formats.fields import number, optional_number, require, text
from assay.data.formats.messages import read_turns, user
from assay.data.formats.registry import FormatOptions, register_format
from assay.data.records import Group, Message, Source
from assay.data.strict_json import JsonObject

_RATINGS = ("helpfulness", "correctness", "coherence", "complexity", "verbosity")
_TURN = re.compile(r"\n?<extra_id_1>(User|Assistant)\n")
_ROLES = {"User": "user", "Assistant": "assistant"}


@register_format(
    "helpsteer2_preference",
    fields="prompt, response_1, response_2, preference_strength (below 0: response_1 is better)",
    rank=32,
    detects=lambda row: "preference_strength" in row,
    two_way=True,
)
def read_preference(row: JsonObject, source: Source, options: FormatOptions) -> Group:
    """One row; a strength of 0 is a tie, and its size the margin."""
    return text_pair(
        row,
        source,
        _prompt(row),
        ("response_1", "response_2"),
        preference(number(row, "preference_strength")),
        used=("prompt", "preference_strength"),
    )


@register_format(
    "helpsteer3",
    fields="context, response1, response2, overall_preference (below 0: response1 is better)",
    rank=40,
    detects=lambda row: "overall_preference" in row,
    two_way=True,
)
def read_helpsteer3(row: JsonObject, source: Source, options: FormatOptions) -> Group:
    """One row; a preference of 0 is a tie, and its size the margin."""
    return text_pair(
        row,
        source,
        read_turns(require(row, "context"), "context", user),
        ("response1", "response2"),
        preference(number(row, "overall_preference")),
        used=("context", "overall_preference"),
        tags=("domain", "language"),
    )


@register_format(
    "helpsteer2",
    fields="prompt, response, helpfulness, correctness, coherence, complexity, verbosity",
    rank=118,
    detects=lambda row: "response" in row and any(name in row for name in _RATINGS),
    labels=_RATINGS,
    rated=True,
)
def read_ratings(row: JsonObject, source: Source, options: FormatOptions) -> Group:
    """One row: one response and its ratings, from 0 to 4."""
    found = {name: optional_number(row, name) for name in _RATINGS}
    ratings = {name: value for name, value in found.items() if value is not None}
    return group_of_row(
        row,
        source,
        _prompt(row),
        (replace(text_answer(row, "response"), ratings=ratings),),
        used=("prompt", "response", *_RATINGS),
    )


def _prompt(row: JsonObject) -> Messages:
    """Later turns of a prompt stand behind `<extra_id_1>Assistant` and `<extra_id_1>User`."""
    first, *pieces = _TURN.split(text(row, "prompt"))
    later = zip(pieces[::2], pieces[1::2], strict=True)
    return (user(first), *(Message(_ROLES[name], content) for name, content in later))
