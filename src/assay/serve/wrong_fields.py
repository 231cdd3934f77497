"""What is wrong with a field of a body, in words, with its mend."""

from __future__ import annotations

import json
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from assay.data.nearest import did_you_mean
from assay.serve.refusals import Refusal

_LONGEST_NAME = 80
_ONE: dict[Any, str] = {
    str: "text",
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    list: "a list",
    dict: "an object",
}
_MANY: dict[Any, str] = {
    str: "texts",
    int: "whole numbers",
    float: "numbers",
    bool: "values true or false",
    list: "lists",
    dict: "objects",
}
_WANTED = {
    "string_type": "text",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "bool_type": "true or false",
    "list_type": "a list",
    "dict_type": "an object",
}
"""By the name that pydantic gives to a mistake."""
_UNION_MEMBERS = frozenset({"str", "int", "dict", "list"})


def wrong_field(kind: type[BaseModel], error: ValidationError) -> Refusal:
    """The first mistake in a body, those of whole fields before those inside.

    Args:
        kind: of body.
        error: what pydantic says of it.
    """
    flaw = min(error.errors(include_url=False), key=lambda one: len(one["loc"]))
    path = _path(flaw["loc"])
    what, mend = _said(kind, flaw)
    return Refusal(422, what, param=path[:_LONGEST_NAME] or None, mend=mend)


def _said(kind: type[BaseModel], flaw: ErrorDetails) -> tuple[str, str | None]:
    name = str(flaw["loc"][0]) if flaw["loc"] else ""
    about = flaw.get("ctx", {})
    match flaw["type"]:
        case "extra_forbidden":
            known = list(kind.model_fields)
            mend = f"{did_you_mean(name, known)}known: {', '.join(known)}"
            return f"there is no field '{name[:_LONGEST_NAME]}'", mend
        case "missing":
            return "is missing", "add it"
        case "greater_than_equal":
            return f"is below {about['ge']}", f"send {about['ge']} or more"
        case "string_too_long":
            return f"has more than {about['max_length']} characters", "shorten it"
        case "string_too_short":
            return "is empty", "write something, or leave it out"
    whole = _path(flaw["loc"]) == name and name in kind.model_fields
    annotation = kind.model_fields[name].annotation if whole else None
    wanted = _words(annotation, _ONE) if whole else [_WANTED.get(flaw["type"], "")]
    if not all(wanted):
        return flaw["msg"].removeprefix("Value error, "), None
    given = flaw["input"]
    return f"is {_kind(given, wanted)}not {_either(wanted)}", _mend(given, wanted)


def _mend(given: object, wanted: list[str]) -> str:
    if type(given) in (int, float) and wanted[0] == "text":
        return "put it in quotation marks"
    if any(one in (f"a list of {_MANY.get(type(given))}", "a list") for one in wanted):
        return "put it between [ and ]"
    return f"send {wanted[0]}" if len(wanted) == 1 else "send one of these"


def _kind(given: object, wanted: list[str]) -> str:
    """What a value is, where that tells what is wrong with it."""
    if isinstance(given, list) and any("list" in one for one in wanted):
        return ""  # It is one of its items.
    if given is None or isinstance(given, bool):
        return f"{json.dumps(given)}, "
    if isinstance(given, float):
        return f"{given:g}, "
    kinds = {str: "text", dict: "an object", list: "a list", int: "a number"}
    return f"{kinds.get(type(given), 'another value')}, "


def _either(wanted: list[str]) -> str:
    *others, last = wanted
    return f"{', '.join(others)} or {last}" if others else last


def _path(location: tuple[int | str, ...]) -> str:
    """`responses[3].content`; names that pydantic gives to the members of a union are left out."""
    path = ""
    for part in location:
        if isinstance(part, int):
            path += f"[{part}]"
        elif part.isidentifier() and part not in _UNION_MEMBERS:
            path += f".{part}" if path else part
    return path


def _words(annotation: Any, plain: dict[Any, str]) -> list[str]:
    """A type in words: each of its alternatives."""
    origin, inside = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _words(inside[0], plain)
    if origin in (Union, UnionType):
        return [word for one in inside for word in _words(one, plain)]
    if origin is Literal:
        return [repr(one) for one in inside]
    if origin is list:
        items = _words(inside[0], _MANY)
        return [f"{plain[list]} of {_either(items)}" if items else plain[list]]
    return [] if annotation in (NoneType, Any) else [plain[origin or annotation]]
