"""How a scored row is written: its own fields, and what the model said of its responses."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from assay.data.records import Source
from assay.data.strict_json import JsonObject
from assay.errors import DataError
from assay.score.scorer import RowScores
from assay.score.transform import Transform

Style = Literal["assay", "messages"]


@dataclass(frozen=True, slots=True)
class Layout:
    """Where rewards stand in a row.

    Attributes:
        style: `assay` adds a field of that name; `messages` writes into the last message.
        transform: adds a column and replaces nothing.
        about: what each row says of the model.
    """

    style: Style
    transform: Transform | None
    about: Mapping[str, Any]


def check_fields(fields: JsonObject, place: Source, style: Style) -> None:
    """See that rewards have a place in a row.

    Raises:
        DataError: they have none, or would take that of something else.
    """
    if style == "messages":
        _last_valued(fields, place)
    elif "assay" in fields:
        raise DataError(
            "the row has a field 'assay' already, which would be lost",
            where=place,
            mend="rename or remove it",
        )


def line_of(fields: JsonObject, place: Source, result: RowScores, layout: Layout) -> str:
    """The row with its rewards as one line of JSON, without the line's end.

    Raises:
        DataError: rewards have no place in the row, or what is made of them is not finite.
    """
    if layout.style == "messages":
        row = _in_messages(fields, place, result, layout)
    else:
        row = fields | {"assay": _beside(result, layout)}
    try:
        return json.dumps(row, ensure_ascii=False, allow_nan=False)
    except ValueError:
        raise DataError(
            "what is made of its rewards is not finite",
            where=place,
            mend="give --transform larger numbers, or the parts of --reward smaller weights",
        ) from None


def _beside(result: RowScores, layout: Layout) -> dict[str, Any]:
    added: dict[str, Any] = {
        "scores": result.scores,
        "num_tokens": result.num_tokens,
        "truncated": result.truncated,
        **layout.about,
    }
    if layout.transform is not None:
        added[layout.transform.name] = [layout.transform(score) for score in result.scores]
    if result.uncertainty is not None:
        added["uncertainty"] = result.uncertainty
    if result.components is not None:
        added["components"] = result.components
    return added


def _in_messages(
    fields: JsonObject, place: Source, result: RowScores, layout: Layout
) -> dict[str, Any]:
    messages, last = _last_valued(fields, place)
    last = dict(last)
    for index, (key, score) in enumerate(zip(("chosen", "rejected"), result.scores, strict=True)):
        last[f"{key}_score"] = score
        if layout.transform is not None:
            last[f"{key}_score_{layout.transform.name}"] = layout.transform(score)
        if result.uncertainty is not None:
            last[f"{key}_uncertainty"] = result.uncertainty[index]
        if result.components is not None:
            last[f"{key}_components"] = result.components[index]
    return fields | {"messages": [*messages[:-1], last]}


def _last_valued(fields: JsonObject, place: Source) -> tuple[list[Any], dict[str, Any]]:
    messages = fields.get("messages")
    last = messages[-1] if isinstance(messages, list) and messages else None
    if not isinstance(messages, list) or not isinstance(last, dict) or "chosen_value" not in last:
        raise DataError(
            "--style messages writes into rows whose last message has chosen_value and "
            "rejected_value, and this row has none",
            where=place,
            mend="leave --style out",
        )
    return messages, last
