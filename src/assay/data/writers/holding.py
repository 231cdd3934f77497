"""What schemas ask of a comparison, and how several of them write messages."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from assay.data.records import Comparison, Group, Message, Response
from assay.data.strict_json import JsonObject
from assay.data.writers.registry import Detail, LeftOut, answers


def as_dicts(messages: Sequence[Message]) -> list[JsonObject]:
    """Messages in OpenAI's words, whole."""
    return [message.as_dict() for message in messages]


def conversation(group: Group, response: Response) -> tuple[Message, ...]:
    """The prompt and the answer in one."""
    return (*group.prompt, *response.messages)


def refuses_arguments(group: Group, *, tools: bool = False) -> LeftOut | None:
    """Tools and template arguments, for a schema without a place for them.

    Args:
        group: the group.
        tools: the schema has a place for tools, whose readers put a bare function into
            `{"type": "function", "function": ...}`.
    """
    if group.template_kwargs:
        return LeftOut.ARGUMENTS
    if group.tools and not tools:
        return LeftOut.TOOLS
    bare = any("function" not in tool for tool in group.tools or ())
    return LeftOut.BARE_TOOLS if bare else None


def refuses_messages(messages: Sequence[Message], roles: Collection[str]) -> LeftOut | None:
    """Roles that the schema does not know, and messages that are more than role and text."""
    for message in messages:
        if message.role not in roles:
            system = message.role in ("system", "developer") and "system" not in roles
            return LeftOut.SYSTEM if system else LeftOut.ROLE
        if not message.is_plain:
            return LeftOut.PARTS
    return None


def refuses_answers(group: Group, comparison: Comparison) -> LeftOut | None:
    """Answers other than one plain assistant message."""
    for response in answers(group, comparison):
        if len(response.messages) > 1 or response.messages[0].role != "assistant":
            return LeftOut.ANSWER
        if not response.messages[0].is_plain:
            return LeftOut.PARTS
    return None


def refuses_pair(
    group: Group, comparison: Comparison, roles: Collection[str], *, tools: bool = False
) -> LeftOut | None:
    """All three, for a prompt of plain messages in some roles and two plain answers."""
    return (
        refuses_arguments(group, tools=tools)
        or refuses_messages(group.prompt, roles)
        or refuses_answers(group, comparison)
    )


def identical(group: Group, comparison: Comparison) -> bool:
    """Whether both answers are the same messages."""
    better, worse = answers(group, comparison)
    return better.messages == worse.messages


def loses_seam(group: Group, comparison: Comparison) -> list[Detail]:
    """In two whole conversations, the prompt is what they share: more where answers begin alike."""
    better, worse = answers(group, comparison)
    first, second = better.messages, worse.messages
    alike = len(first) > 1 and len(second) > 1 and first[0] == second[0]
    return [Detail.SEAM] if alike else []


def text_of(response: Response) -> str:
    """The text of an answer that is one plain message."""
    return response.messages[0].content


def margin_of(comparison: Comparison) -> JsonObject:
    """`margin`, where the comparison states one."""
    return {} if comparison.margin is None else {"margin": comparison.margin}
