"""LLaMA-Factory: sharegpt turns and two answers, and the entry that makes the file known."""

from __future__ import annotations

import json
from collections.abc import Collection

from assay.data.records import Comparison, Group, Message
from assay.data.strict_json import JsonObject
from assay.data.writers.holding import refuses_pair, text_of
from assay.data.writers.registry import LeftOut, answers, register_writer

NAME = "llamafactory"

_FROM = {"user": "human", "assistant": "gpt"}


def _refuses(group: Group, comparison: Comparison) -> LeftOut | None:
    system, turns = _parts(group)
    refused = refuses_pair(group, comparison, ("system", *_FROM), tools=True)
    if refused is not None:
        return refused
    if system is not None and not system.content:
        return LeftOut.EMPTY_SYSTEM  # The trainer would put its own in its place.
    expected = ("user", "assistant")
    if len(turns) % 2 == 0 or any(t.role != expected[i % 2] for i, t in enumerate(turns)):
        return LeftOut.ALTERNATION
    return None


def _parts(group: Group) -> tuple[Message | None, tuple[Message, ...]]:
    """The system message, if the prompt begins with one, and the turns behind it."""
    if group.prompt[0].role == "system":
        return group.prompt[0], group.prompt[1:]
    return None, group.prompt


@register_writer(NAME, refuses=_refuses)
def write_llamafactory(group: Group, comparison: Comparison) -> JsonObject:
    """One row; `tools` is a text of JSON, as the trainer reads it."""
    system, turns = _parts(group)
    better, worse = answers(group, comparison)
    row: JsonObject = {
        "conversations": [{"from": _FROM[turn.role], "value": turn.content} for turn in turns],
        "chosen": {"from": "gpt", "value": text_of(better)},
        "rejected": {"from": "gpt", "value": text_of(worse)},
    }
    if system is not None:
        row["system"] = system.content
    if group.tools:
        row["tools"] = json.dumps(list(group.tools), ensure_ascii=False)
    return row


def dataset_entry(file_name: str, fields: Collection[str]) -> JsonObject:
    """What `dataset_info.json` says of a written file.

    Args:
        file_name: the file, relative to `dataset_info.json`.
        fields: the fields that any of its rows has: a column that no row has stops the trainer.
    """
    columns: JsonObject = {"messages": "conversations", "chosen": "chosen", "rejected": "rejected"}
    columns |= {name: name for name in ("system", "tools") if name in fields}
    return {
        "file_name": file_name,
        "formatting": "sharegpt",
        "ranking": True,
        "columns": columns,
    }
