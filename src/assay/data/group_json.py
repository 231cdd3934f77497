"""Groups as JSON texts, nothing lost on the way."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import orjson

from assay.data.records import Comparison, Group, Message, Response, Source

Json = dict[str, Any]

_AS_TEXT = orjson.OPT_PASSTHROUGH_DATETIME | orjson.OPT_PASSTHROUGH_DATACLASS
"""What JSON has no form for goes to `str`, as everything of its kind does."""

_OF_MESSAGES = {"role", "content", "tool_calls", "reasoning_content"}


def group_to_json(group: Group) -> str:
    """A group in one line of JSON, in the fields of the format `assay`.

    What JSON cannot hold (dates and the like, which some kinds of files bring) becomes its text.
    """
    return json_line(group_as_json(group))


def group_as_json(group: Group) -> Json:
    """A group in the fields of the format `assay`; parts at their defaults are left out."""
    fields: Json = {
        "id": group.id,
        "source": str(group.source),
        "prompt": [message.as_dict() for message in group.prompt],
        "responses": [_response(response) for response in group.responses],
    }
    if group.comparisons:
        fields["comparisons"] = [_comparison(item) for item in group.comparisons]
    if group.tools is not None:
        fields["tools"] = list(group.tools)
    if group.template_kwargs:
        fields["chat_template_kwargs"] = group.template_kwargs
    if group.rankings:
        fields["rankings"] = [list(map(list, ranking)) for ranking in group.rankings]
    if group.weight != 1.0:
        fields["weight"] = group.weight
    if group.extra:
        fields["extra"] = group.extra
    return fields


def group_from_json(text: str | bytes) -> Group:
    """The group that `group_to_json` wrote."""
    fields = _decoded(text)
    tools = fields.get("tools")
    return Group(
        id=fields["id"],
        source=Source.read(fields["source"]),
        prompt=tuple(map(_read_message, fields["prompt"])),
        responses=tuple(map(_read_response, fields["responses"])),
        comparisons=tuple(map(_read_comparison, fields.get("comparisons", ()))),
        tools=None if tools is None else tuple(tools),
        template_kwargs=fields.get("chat_template_kwargs", {}),
        rankings=tuple(
            tuple(tuple(rank) for rank in ranking) for ranking in fields.get("rankings", ())
        ),
        weight=fields.get("weight", 1.0),
        extra=fields.get("extra", {}),
    )


def json_line(value: object) -> str:
    """A value as compact JSON, always the same for the same value, and encodable as UTF-8."""
    try:
        return orjson.dumps(value, default=str, option=_AS_TEXT).decode()
    except TypeError:  # Numbers of more than 64 bits, keys that are no text, half a surrogate pair.
        return json.dumps(value, separators=(",", ":"), default=str)


def _decoded(text: str | bytes) -> Any:
    try:
        return orjson.loads(text)
    except ValueError:  # What `json_line` left to `json`.
        return json.loads(text)


def _response(response: Response) -> Json:
    fields: Json = {"messages": [message.as_dict() for message in response.messages]}
    if response.ratings:
        fields["ratings"] = response.ratings
    if response.tags:
        fields["tags"] = response.tags
    return fields


def _comparison(comparison: Comparison) -> Json:
    fields: Json = {"a": comparison.a, "b": comparison.b, "outcome": comparison.outcome}
    if comparison.margin is not None:
        fields["margin"] = comparison.margin
    if comparison.weight != 1.0:
        fields["weight"] = comparison.weight
    if comparison.tags:
        fields["tags"] = comparison.tags
    if comparison.row is not None:
        fields["row"] = str(comparison.row)
    return fields


def _read_message(fields: Mapping[str, Any]) -> Message:
    if len(fields) == 2:
        return Message(fields["role"], fields["content"])
    return Message(
        fields["role"],
        fields["content"],
        tuple(fields.get("tool_calls", ())),
        fields.get("reasoning_content"),
        {key: value for key, value in fields.items() if key not in _OF_MESSAGES},
    )


def _read_response(fields: Mapping[str, Any]) -> Response:
    messages = tuple(map(_read_message, fields["messages"]))
    return Response(messages, fields.get("ratings", {}), fields.get("tags", {}))


def _read_comparison(fields: Mapping[str, Any]) -> Comparison:
    row = fields.get("row")
    return Comparison(
        fields["a"],
        fields["b"],
        fields["outcome"],
        fields.get("margin"),
        fields.get("weight", 1.0),
        fields.get("tags", {}),
        None if row is None else Source.read(row),
    )
