"""PKU-SafeRLHF: two responses under two labels, the better one and the safer one."""

from __future__ import annotations

from dataclasses import replace

from assay.data.formats.building import answer, row_group
from assay.data.formats.fields import remaining, require, text, wrong_type
from assay.data.formats.messages import assistant, user
from assay.data.formats.registry import FormatOptions, register_format
from assay.data.records import Comparison, Group, Response, Source
from assay.data.strict_json import JsonObject
from assay.errors import DataError

_LABELS = {"better": "better_response_id", "safer": "safer_response_id"}
_RESPONSES = ("response_0", "response_1")
_SAFE = ("is_response_0_safe", "is_response_1_safe")


@register_format(
    "safe_rlhf",
    fields="prompt, response_0, response_1, better_response_id or safer_response_id",
    rank=30,
    detects=lambda row: "response_0" in row and any(field in row for field in _LABELS.values()),
    labels=tuple(_LABELS),
)
def read_safe_rlhf(row: JsonObject, source: Source, options: FormatOptions) -> Group:
    """One row; the responses keep their order, and the label in the options names the winner."""
    winner = _response_id(row, _LABELS[options.label or "better"])
    return row_group(
        source,
        (user(text(row, "prompt")),),
        (_response(row, 0), _response(row, 1)),
        Comparison(0, 1, "b" if winner else "a"),
        extra=remaining(row, ("prompt", *_RESPONSES, *_SAFE)),
    )


def _response_id(row: JsonObject, field: str) -> int:
    value = require(row, field)
    if isinstance(value, bool) or not isinstance(value, int):
        raise wrong_type(field, value, "0 or 1")
    if value not in (0, 1):
        raise DataError(f"'{field}' is a number other than 0 and 1", mend="write 0 or 1")
    return value


def _response(row: JsonObject, index: int) -> Response:
    field = _RESPONSES[index]
    response = answer((assistant(text(row, field)),), field)
    safe = row.get(_SAFE[index])
    if safe is None:
        return response
    if not isinstance(safe, bool):
        raise wrong_type(_SAFE[index], safe, "true or false")
    return replace(response, tags={"is_safe": str(safe).lower()})
