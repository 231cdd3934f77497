"""PKU-SafeRLHF: two responses under two labels, the better one and the safer one."""

from __future__ import annotations

from dataclasses import replace

from assay.data.cells import literal
from assay.data.formats.beside import group_of_row
from assay.data.formats.building import text_answer
from assay.data.formats.fields import choice, optional_number, text, wrong_type
from assay.data.formats.messages import user
from assay.data.formats.registry import FormatOptions, register_format
from assay.data.records import Comparison, Group, Outcome, Response, Source
from assay.data.strict_json import JsonObject

_LABELS = {"better": "better_response_id", "safer": "safer_response_id"}
_OUTCOMES: dict[int | str, Outcome] = {0: "a", 1: "b"}
_OF_RESPONSE = (
    "response_{}",
    "is_response_{}_safe",
    "response_{}_severity_level",
    "response_{}_harm_category",
    "response_{}_source",
)
_USED = ("prompt", *(name.format(index) for name in _OF_RESPONSE for index in (0, 1)))


@register_format(
    "safe_rlhf",
    fields="prompt, response_0, response_1, better_response_id or safer_response_id",
    rank=30,
    detects=lambda row: "response_0" in row and any(field in row for field in _LABELS.values()),
    labels=tuple(_LABELS),
    two_way=True,
)
def read_safe_rlhf(row: JsonObject, source: Source, options: FormatOptions) -> Group:
    """One row; the responses keep their order, and the label in the options names the winner."""
    outcome = choice(row, _LABELS[options.label or "better"], _OUTCOMES)
    return group_of_row(
        row,
        source,
        (user(text(row, "prompt")),),
        (_response(row, 0), _response(row, 1)),
        Comparison(0, 1, outcome),
        used=_USED,
        tags=("prompt_source",),
    )


def _response(row: JsonObject, index: int) -> Response:
    """A response, its severity as a rating, and as tags whether it is safe, harms and model."""
    content, safe, severity, harms, model = (name.format(index) for name in _OF_RESPONSE)
    response = text_answer(row, content)
    tags: dict[str, str] = {}
    is_safe, harm = literal(row.get(safe)), literal(row.get(harms))
    if is_safe is not None:
        if not isinstance(is_safe, bool):
            raise wrong_type(safe, is_safe, "true or false")
        tags["is_safe"] = str(is_safe).lower()
    if harm is not None:
        tags["harm_category"] = _harms(harm, harms)
    if row.get(model) is not None:
        tags["model"] = text(row, model)
    level = optional_number(row, severity)
    return replace(response, ratings={} if level is None else {"severity_level": level}, tags=tags)


def _harms(value: object, field: str) -> str:
    """The names of the harms that apply, with commas between them."""
    if not isinstance(value, dict):
        raise wrong_type(field, value, "an object of harms, each true or false")
    return ", ".join(name for name, applies in value.items() if applies)
