"""Rows of benchmarks, of which only the texts count: whatever a row asks must not be trained on."""

from __future__ import annotations

from collections.abc import Iterator

from assay.data.cells import literal
from assay.data.formats import FormatOptions, detect_format
from assay.data.formats.fields import field_names
from assay.data.prompts import asked
from assay.data.records import Group, Source
from assay.data.strict_json import JsonObject
from assay.errors import DataError

ASKING = (
    "prompt",
    "question",
    "instruction",
    "problem",
    "input",
    "query",
    "task",
    "goal",
    "text",
    "context",
    "turns",
    "messages",
    "conversation",
    "conversations",
)
"""Fields, in any case, whose texts ask something."""

_ROLES, _CONTENTS = ("role", "from"), ("content", "value", "text")
_UNASKED = frozenset(("system", "developer"))
_ANSWERS = frozenset(("assistant", "gpt"))


def benchmark_texts(row: JsonObject, source: Source) -> dict[str, list[str]]:
    """What a row asks, by where it was found: the name of a format with comparisons, or fields.

    Raises:
        DataError: nothing in the row is known to ask.
    """
    try:
        known = detect_format(row, source)
        group = known.read(row, source, FormatOptions()) if known.comparisons else None
    except DataError:
        group = None
    if isinstance(group, Group) and group.prompt:
        return {known.name: [asked(group.prompt)]}
    found = {field: list(_texts(row[field])) for field in row if field.lower() in ASKING}
    if not found:
        raise DataError(
            f"no field of this row asks anything: {field_names(row)}",
            where=source,
            mend=f"rename the one that does to prompt; looked for {', '.join(ASKING)}",
        )
    return found


def _texts(value: object) -> Iterator[str]:
    """A text, or what a conversation says up to where an answer to it would begin."""
    meant = literal(value)
    items = meant if isinstance(meant, list) else [meant]
    if isinstance(value, str) and not (items and all(isinstance(item, dict) for item in items)):
        items = [value]
    turns = [_turn(item) for item in items]
    while turns and turns[-1][0] in _ANSWERS:
        turns.pop()
    said = [content for role, content in turns if role not in _UNASKED and content.strip()]
    if said:
        yield "\n".join(said)


def _turn(item: object) -> tuple[str, str]:
    """The role and the text of a turn, empty where there is none."""
    if isinstance(item, str):
        return "", item
    fields = item if isinstance(item, dict) else {}
    role, content = (
        next((fields[name] for name in names if isinstance(fields.get(name), str)), "")
        for names in (_ROLES, _CONTENTS)
    )
    return role, content
