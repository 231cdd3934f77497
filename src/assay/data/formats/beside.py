"""What any row may hold beside its prompt and answers, read alike in every format.

`system`, `tools` and `chat_template_kwargs` are part of what the model reads, and `margin` is the
strength of the row's one comparison. Pictures, films and sounds would be part of it too, and
nothing here reads them: such rows are refused.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import replace

from assay.data.cells import literal
from assay.data.formats.building import Messages, row_group, text_answer
from assay.data.formats.fields import (
    as_json,
    as_objects,
    as_text,
    optional_number,
    remaining,
    tags_of,
    wrong_type,
)
from assay.data.records import Comparison, Group, Message, Ranking, Response, Source
from assay.data.strict_json import JsonObject
from assay.errors import DataError

Tools = tuple[JsonObject, ...]

_READ = ("system", "tools", "chat_template_kwargs")
_MEDIA = ("images", "image", "videos", "video", "audios", "audio")
_OURS = ("add_generation_prompt", "continue_final_message", "chat_template", "tokenize")


def optional_tools(row: JsonObject) -> Tools | None:
    """`tools`: the descriptions of functions that the prompt offers, or None.

    Raises:
        DataError: it is not a list of objects, nor such a list as JSON text.
    """
    tools = literal(row.get("tools"))
    if isinstance(tools, str):
        tools = as_json(tools, "tools") if tools else None
    return as_objects(tools, "tools") or None


def template_kwargs(row: JsonObject) -> JsonObject:
    """`chat_template_kwargs`: what the chat template is given besides the messages.

    Raises:
        DataError: it is not an object, or would change how the text is cut or closed.
    """
    value = literal(row.get("chat_template_kwargs"))
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise wrong_type("chat_template_kwargs", value, "an object")
    for name in _OURS:
        if name in value:
            raise DataError(
                f"'chat_template_kwargs' sets '{name}', which Assay decides",
                mend=f"leave '{name}' out",
            )
    return value


def refuse_media(row: JsonObject) -> None:
    """See that a row names no pictures, films or sounds beside its text.

    Raises:
        DataError: it does.
    """
    for field in _MEDIA:
        if field in row and literal(row[field]):
            raise DataError(
                f"'{field}' is not empty, and only text can be read",
                mend="leave out rows with such fields",
            )


def group_of_row(
    row: JsonObject,
    source: Source,
    prompt: Messages,
    responses: tuple[Response, ...],
    *comparisons: Comparison,
    used: Collection[str],
    tags: Collection[str] = (),
    tools: Callable[[JsonObject], Tools | None] = optional_tools,
    rankings: tuple[Ranking, ...] = (),
) -> Group:
    """The group of a row: what its format made of it, and what stands beside.

    A system message that the prompt itself begins with goes before the row's `system`.

    Args:
        row: the row.
        source: its place.
        prompt: of the row, without its `system`.
        responses: of the row, in order.
        comparisons: between them; a single one without a margin is given the row's.
        used: the fields that the format read; the others become the group's `extra`.
        tags: fields that become tags of the comparisons, where they hold text.
        tools: reads the row's `tools`.
        rankings: of the responses.

    Raises:
        DataError: the prompt holds nothing, or a field beside it holds what it must not.
    """
    refuse_media(row)
    if not (prompt and prompt[0].role in ("system", "developer")):
        prompt = (*_system_turn(row), *prompt)
    found = tags_of(row, *tags)
    if found:
        comparisons = tuple(replace(one, tags=found | one.tags) for one in comparisons)
    used = (*used, *_READ, *found)
    if len(comparisons) == 1 and comparisons[0].margin is None and "margin" in row:
        comparisons = (replace(comparisons[0], margin=optional_number(row, "margin")),)
        used = (*used, "margin")
    return row_group(
        source,
        prompt,
        responses,
        *comparisons,
        tools=tools(row),
        template_kwargs=template_kwargs(row),
        extra=remaining(row, used),
        rankings=rankings,
    )


def chosen_over_rejected(
    row: JsonObject,
    source: Source,
    parts: tuple[Messages, Response, Response],
    *,
    used: Collection[str],
    tags: Collection[str] = (),
    tools: Callable[[JsonObject], Tools | None] = optional_tools,
) -> Group:
    """The group of a row with a prompt, a better and a worse response; see `group_of_row`."""
    prompt, *responses = parts
    return group_of_row(
        row,
        source,
        prompt,
        tuple(responses),
        Comparison(0, 1, "a"),
        used=used,
        tags=tags,
        tools=tools,
    )


def text_pair(
    row: JsonObject,
    source: Source,
    prompt: Messages,
    fields: tuple[str, str],
    comparison: Comparison,
    *,
    used: Collection[str],
    tags: Collection[str] = (),
) -> Group:
    """The group of a row whose two responses are fields of text; the rest as in `group_of_row`.

    Raises:
        DataError: as `group_of_row`, or a response is missing or not text.
    """
    responses = tuple(text_answer(row, field) for field in fields)
    used = (*used, *fields)
    return group_of_row(row, source, prompt, responses, comparison, used=used, tags=tags)


def _system_turn(row: JsonObject) -> Messages:
    content = row.get("system")
    if content is None or content == "":
        return ()
    return (Message("system", as_text(content, "system")),)
