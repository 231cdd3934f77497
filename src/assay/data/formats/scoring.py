"""Rows that are only scored: a prompt with responses, a conversation, a text as it stands."""

from __future__ import annotations

from assay.data.cells import literal, looks_listed
from assay.data.formats.beside import group_of_row, refuse_media
from assay.data.formats.building import answer
from assay.data.formats.fields import require, text, wrong_type
from assay.data.formats.hh import read_prompt
from assay.data.formats.messages import assistant, behind_last_user, read_messages, read_turns
from assay.data.formats.registry import FormatOptions, VerbatimText, register_format
from assay.data.records import Group, Source
from assay.data.strict_json import JsonObject
from assay.errors import DataError


@register_format(
    "responses",
    fields="prompt, responses",
    rank=300,
    detects=lambda row: "responses" in row or {"prompt", "response"} <= row.keys(),
    comparisons=False,
)
def read_responses(row: JsonObject, source: Source, options: FormatOptions) -> Group:
    """One prompt (text or messages) with responses (each text, a message or several).

    A row with one may write it as `response`.
    """
    prompt = read_prompt(require(row, "prompt"), "prompt")
    if "response" in row and "responses" not in row:
        given = row["response"]
        given = literal(given) if looks_listed(given) else given
        single = answer(read_turns(given, "response", assistant), "response")
        return group_of_row(row, source, prompt, (single,), used=("prompt", "response"))
    responses = literal(require(row, "responses"))
    if looks_listed(responses):
        raise DataError(
            f"'responses' is a list that cannot be read back ({str(responses)[:30]!r})",
            mend="write the column with json.dumps, or the table as JSON lines or Parquet",
        )
    if not isinstance(responses, list):
        raise wrong_type("responses", responses, "a list")
    if not responses:
        raise DataError("'responses' is empty", mend="write at least one response")
    fields = [f"responses[{index}]" for index in range(len(responses))]
    return group_of_row(
        row,
        source,
        prompt,
        tuple(
            answer(read_turns(value, field, assistant), field)
            for value, field in zip(responses, fields, strict=True)
        ),
        used=("prompt", "responses"),
    )


@register_format(
    "messages",
    fields="messages",
    rank=310,
    detects=lambda row: "messages" in row,
    comparisons=False,
)
def read_conversation(row: JsonObject, source: Source, options: FormatOptions) -> Group:
    """A conversation; all turns behind the last user turn are the response."""
    messages = read_messages(require(row, "messages"), "messages")
    behind = behind_last_user(messages)
    return group_of_row(
        row,
        source,
        messages[:behind],
        (answer(messages[behind:], "messages"),),
        used=("messages",),
    )


@register_format(
    "text", fields="text", rank=320, detects=lambda row: "text" in row, comparisons=False
)
def read_text(row: JsonObject, source: Source, options: FormatOptions) -> VerbatimText:
    """A text that the model reads as it stands."""
    refuse_media(row)
    verbatim = text(row, "text")
    if not verbatim:
        raise DataError("'text' is empty", mend="write the text, or leave the row out")
    return VerbatimText(verbatim, source)
