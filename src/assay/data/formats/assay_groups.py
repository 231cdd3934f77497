"""Assay's own rows: a group with all its responses and comparisons, as `assay convert` writes it.

The rows stand for themselves: places in messages are those of this file. Where a row came from
before it was written (`source`, `row`) is there for people, and is not read.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TypeVar

from assay.data.formats.beside import group_of_row
from assay.data.formats.building import answer
from assay.data.formats.fields import (
    as_number,
    as_objects,
    as_text,
    choice,
    optional_number,
    require,
    text,
    wrong_type,
)
from assay.data.formats.messages import read_messages
from assay.data.formats.registry import FormatOptions, register_format
from assay.data.records import Comparison, Group, Outcome, Ranking, Response, Source
from assay.data.strict_json import JsonObject
from assay.errors import DataError

VERSION_FIELD = "assay_group"
VERSION = 1

_OUTCOMES: dict[int | str, Outcome] = {"a": "a", "b": "b", "tie": "tie"}
_T = TypeVar("_T")


@register_format(
    "assay",
    fields="assay_group, prompt, responses, comparisons, ...",
    rank=5,
    detects=lambda row: VERSION_FIELD in row,
)
def read_group(row: JsonObject, source: Source, options: FormatOptions) -> Group:
    """One group."""
    if require(row, VERSION_FIELD) != VERSION:
        raise DataError(
            f"'{VERSION_FIELD}' is not {VERSION}",
            mend="read it with the version of Assay that wrote it",
        )
    responses = tuple(
        _response(value, f"responses[{index}]")
        for index, value in enumerate(as_objects(require(row, "responses"), "responses"))
    )
    comparisons = (
        _comparison(value, f"comparisons[{index}]", len(responses))
        for index, value in enumerate(as_objects(row.get("comparisons"), "comparisons"))
    )
    group = group_of_row(
        row,
        source,
        read_messages(require(row, "prompt"), "prompt"),
        responses,
        *comparisons,
        used=row,
        rankings=tuple(
            _ranking(value, f"rankings[{index}]", len(responses))
            for index, value in enumerate(_list(row.get("rankings"), "rankings"))
        ),
    )
    name = as_text(row["id"], "id") if "id" in row else group.id
    return replace(group, id=name, weight=_weight(row), extra=_object(row, "extra"))


def _response(value: JsonObject, field: str) -> Response:
    messages = read_messages(require(value, "messages", within=field), f"{field}.messages")
    return replace(
        answer(messages, f"{field}.messages"),
        ratings=_mapping(value, "ratings", field, as_number),
        tags=_mapping(value, "tags", field, as_text),
    )


def _comparison(value: JsonObject, field: str, count: int) -> Comparison:
    a, b = (_index(require(value, key, within=field), f"{field}.{key}", count) for key in "ab")
    text(value, "outcome", within=field)
    return Comparison(
        a,
        b,
        choice(value, "outcome", _OUTCOMES),
        margin=optional_number(value, "margin", within=field),
        weight=_weight(value, field),
        tags=_mapping(value, "tags", field, as_text),
    )


def _weight(row: JsonObject, within: str = "") -> float:
    weight = optional_number(row, "weight", within=within)
    if weight is not None and weight < 0:  # It would teach the opposite.
        name = f"{within}.weight" if within else "weight"
        raise DataError(f"'{name}' is below 0", mend="write 0 or more, or turn the outcome round")
    return 1.0 if weight is None else weight


def _ranking(value: object, field: str, count: int) -> Ranking:
    ranking = tuple(
        tuple(
            _index(place, f"{field}[{rank}]", count) for place in _list(places, f"{field}[{rank}]")
        )
        for rank, places in enumerate(_list(value, field))
    )
    ranked = [place for places in ranking for place in places]
    if len(set(ranked)) < len(ranked):
        twice = next(place for place in ranked if ranked.count(place) > 1)
        raise DataError(f"'{field}' ranks response {twice} twice", mend="rank each once")
    return ranking


def _index(value: object, field: str, count: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise wrong_type(field, value, "the number of a response, from 0")
    if not 0 <= value < count:
        raise DataError(
            f"'{field}' names response {value} of {count}", mend=f"write 0 to {count - 1}"
        )
    return value


def _list(value: object, field: str) -> list[object]:
    if value is None:
        return []
    if not isinstance(value, list):
        raise wrong_type(field, value, "a list")
    return value


def _object(row: JsonObject, field: str, within: str = "") -> JsonObject:
    value = row.get(field)
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise wrong_type(f"{within}.{field}" if within else field, value, "an object")
    return value


def _mapping(
    row: JsonObject, field: str, within: str, read: Callable[[object, str], _T]
) -> dict[str, _T]:
    items = _object(row, field, within)
    return {name: read(value, f"{within}.{field}.{name}") for name, value in items.items()}
