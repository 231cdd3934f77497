"""LLaMA-Factory's ranking rows, in its two ways of writing them."""

from __future__ import annotations

from assay.data.cells import literal
from assay.data.formats.answers import ANSWERS, chosen_and_rejected
from assay.data.formats.beside import chosen_over_rejected
from assay.data.formats.building import Messages, answer
from assay.data.formats.fields import as_text, require, text, wrong_type
from assay.data.formats.messages import assistant, user
from assay.data.formats.registry import FormatOptions, register_format
from assay.data.formats.sharegpt import read_answer, read_conversation, read_tools
from assay.data.records import Group, Source
from assay.data.strict_json import JsonObject


@register_format(
    "llamafactory_sharegpt",
    fields="conversations (each with from and value), chosen, rejected, optional system, tools",
    rank=80,
    detects=lambda row: "conversations" in row,
)
def read_sharegpt(row: JsonObject, source: Source, options: FormatOptions) -> Group:
    """One row; chosen and rejected are turns, or text as MedicalGPT writes them."""
    turns = read_conversation(require(row, "conversations"), "conversations")
    chosen, rejected = (answer(read_answer(require(row, field), field), field) for field in ANSWERS)
    return chosen_over_rejected(
        row,
        source,
        (turns, chosen, rejected),
        used=("conversations", *ANSWERS),
        tags=("source",),
        tools=read_tools,
    )


@register_format(
    "llamafactory_alpaca",
    fields="instruction, optional input, chosen, rejected, optional system, history, tools",
    rank=130,
    detects=lambda row: "instruction" in row and "chosen" in row,
)
def read_alpaca(row: JsonObject, source: Source, options: FormatOptions) -> Group:
    """One row; the input stands in a line behind the instruction, earlier turns in `history`."""
    asked = (text(row, "instruction"), as_text(row.get("input") or "", "input"))
    question = user("\n".join(part for part in asked if part))
    return chosen_over_rejected(
        row,
        source,
        chosen_and_rejected(row, (*_history(row), question)),
        used=("instruction", "input", "history", *ANSWERS),
        tags=("source",),
        tools=read_tools,
    )


def _history(row: JsonObject) -> Messages:
    """Earlier turns, each a question and its answer."""
    history = literal(row.get("history"))
    if history is None:
        return ()
    if not isinstance(history, list):
        raise wrong_type("history", history, "a list of [question, answer]")
    turns: Messages = ()
    for index, pair in enumerate(history):
        field = f"history[{index}]"
        if not isinstance(pair, list) or len(pair) != 2:
            raise wrong_type(field, pair, "[question, answer]")
        turns += (user(as_text(pair[0], field)), assistant(as_text(pair[1], field)))
    return turns
