"""From the pieces of a row to its group; what every format must hold is checked here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import combinations

from assay.data.formats.fields import text
from assay.data.records import (
    Comparison,
    Group,
    Message,
    Outcome,
    Ranking,
    Response,
    Source,
    prompt_key,
)
from assay.data.strict_json import JsonObject
from assay.errors import DataError

Messages = tuple[Message, ...]


def answer(messages: Messages, field: str) -> Response:
    """A response: at least one message, the last one the assistant's. Its text may be empty.

    Raises:
        DataError: it has no message, or another role has the last word.
    """
    if not messages:
        raise DataError(f"'{field}' holds no answer", mend="add an assistant turn")
    if messages[-1].role != "assistant":
        raise DataError(
            f"'{field}' ends with the role '{messages[-1].role}'",
            mend="end it with an assistant turn",
        )
    return Response(messages)


def text_answer(row: JsonObject, field: str, *, within: str = "") -> Response:
    """A response whose text is a field of a row, or of an object inside it.

    Raises:
        DataError: there is no such field, or it is not text.
    """
    return Response((Message("assistant", text(row, field, within=within)),))


def row_group(
    source: Source,
    prompt: Messages,
    responses: tuple[Response, ...],
    *comparisons: Comparison,
    tools: tuple[JsonObject, ...] | None = None,
    template_kwargs: JsonObject | None = None,
    extra: JsonObject | None = None,
    rankings: tuple[Ranking, ...] = (),
) -> Group:
    """The group of one row; comparisons are given the row as their origin.

    Raises:
        DataError: the prompt holds nothing.
    """
    if not any(message.content.strip() or message.tool_calls for message in prompt):
        raise DataError("the prompt is empty", mend="write the question, or leave the row out")
    key = prompt_key(prompt, tools, template_kwargs)
    return Group(
        id=f"{key}#{source.line}",
        source=source,
        prompt=prompt,
        responses=responses,
        comparisons=tuple(replace(comparison, row=source) for comparison in comparisons),
        tools=tools,
        template_kwargs=template_kwargs or {},
        rankings=rankings,
        extra=extra or {},
    ).with_key(key)


def split_conversations(
    chosen: Messages, rejected: Messages, fields: tuple[str, str] = ("chosen", "rejected")
) -> tuple[Messages, Response, Response]:
    """The longest common beginning of two whole conversations, and what is left of each.

    Each keeps at least its last message, so that identical conversations have a prompt too.

    Raises:
        DataError: they begin differently, or one does not end with an assistant turn.
    """
    shared = 0
    for ours, theirs in zip(chosen[:-1], rejected[:-1], strict=False):
        if ours != theirs:
            break
        shared += 1
    answers = answer(chosen[shared:], fields[0]), answer(rejected[shared:], fields[1])
    if not shared:
        raise DataError(
            f"'{fields[0]}' and '{fields[1]}' do not begin with the same message, "
            "so the prompt is empty",
            mend="begin both with the prompt",
        )
    return chosen[:shared], *answers


def preference(strength: float) -> Comparison:
    """The comparison of two responses by a signed strength: below 0 the first is the better one.

    The margin is the strength without its sign; a strength of 0 is a tie.
    """
    outcome: Outcome = "tie" if strength == 0 else "a" if strength < 0 else "b"
    return Comparison(0, 1, outcome, margin=abs(strength))


def by_rank(ranks: Sequence[float]) -> tuple[Ranking, list[Comparison]]:
    """The ranking of responses by their ranks, the lowest best, and all of its comparisons.

    Equal ranks are ties.
    """
    ranking = tuple(
        tuple(place for place, other in enumerate(ranks) if other == rank)
        for rank in sorted(set(ranks))
    )
    comparisons = [
        Comparison(a, b, "tie" if ranks[a] == ranks[b] else "a" if ranks[a] < ranks[b] else "b")
        for a, b in combinations(range(len(ranks)), 2)
    ]
    return ranking, comparisons
