"""Fields of a row, read as the type that they must have; errors name the field and the mend."""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Mapping
from typing import TypeVar

from assay.data.cells import NotText, literal
from assay.data.strict_json import JsonObject, StrictDecoder
from assay.errors import DataError

_T = TypeVar("_T")
_SHOWN = 12


def require(row: JsonObject, field: str, *, within: str = "") -> object:
    """The value of a field that has to be there.

    Args:
        row: a row, or an object inside it.
        field: the key.
        within: how messages call `row` where it is an object inside the row.

    Raises:
        DataError: there is no such field.
    """
    if field not in row:
        place = f" in '{within}'" if within else ""
        raise DataError(
            f"there is no field '{field}'{place}, only {field_names(row)}",
            mend="add or rename it, or name another format",
        )
    return row[field]


def text(row: JsonObject, field: str, *, within: str = "") -> str:
    """A field that holds text; `within` as in `require`.

    Raises:
        DataError: it is missing or holds something else.
    """
    return as_text(require(row, field, within=within), f"{within}.{field}" if within else field)


def as_text(value: object, field: str) -> str:
    """A value that must be text.

    Raises:
        DataError: it is something else.
    """
    if not isinstance(value, str):
        raise wrong_type(field, value, "text")
    if isinstance(value, NotText):
        raise DataError(
            f"'{field}' holds bytes that are not UTF-8, or another value that is no text",
            mend="write the column as text",
        )
    return value


def as_json(value: str, field: str) -> object:
    """What a text means that must be JSON.

    Raises:
        DataError: it is not JSON, or a reader would take it for something else than it says.
    """
    try:
        parsed = StrictDecoder().parse_all(value)
    except (json.JSONDecodeError, RecursionError):
        raise DataError(f"'{field}' is text that is not JSON", mend="write it as JSON") from None
    if parsed.flaw is not None:
        raise DataError(
            f"the JSON text '{field}' has a flaw: {parsed.flaw.what}", mend=parsed.flaw.mend
        )
    return parsed.value


def as_objects(value: object, field: str) -> tuple[JsonObject, ...]:
    """A value that must be a list of objects; null counts as none.

    Raises:
        DataError: it is something else.
    """
    value = literal(value)
    if value is None:
        return ()
    if not isinstance(value, list):
        raise wrong_type(field, value, "a list of objects")
    for index, item in enumerate(value):
        if not isinstance(item, dict):
            raise wrong_type(f"{field}[{index}]", item, "an object")
    return tuple(value)


def number(row: JsonObject, field: str, *, within: str = "") -> float:
    """A field that holds a finite number; `within` as in `require`.

    Raises:
        DataError: it is missing or holds something else.
    """
    return as_number(require(row, field, within=within), f"{within}.{field}" if within else field)


def optional_number(row: JsonObject, field: str, *, within: str = "") -> float | None:
    """A finite number, or None where the field is missing or null.

    Raises:
        DataError: it is something else.
    """
    value = literal(row.get(field))
    if value is None:
        return None
    return as_number(value, f"{within}.{field}" if within else field)


def as_number(value: object, field: str) -> float:
    """A value that must be a finite number.

    Raises:
        DataError: it is something else.
    """
    value = literal(value)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise wrong_type(field, value, "a number")
    try:
        finite = float(value)
    except OverflowError:
        finite = math.inf
    if not math.isfinite(finite):
        raise DataError(f"'{field}' is not a finite number", mend="write a finite number or null")
    return finite


def choice(row: JsonObject, field: str, meanings: Mapping[int | str, _T]) -> _T:
    """What the value of a field means, out of the values that it may have.

    Raises:
        DataError: it is missing or has another value.
    """
    value = require(row, field)
    if value not in list(meanings):
        value = literal(value)
    if isinstance(value, float) and value.is_integer():
        value = int(value)  # Tables with gaps hold whole numbers so.
    if isinstance(value, int | str) and not isinstance(value, bool) and value in meanings:
        return meanings[value]
    *others, last = (str(known) for known in meanings)
    wanted = f"{', '.join(others)} or {last}"
    if not isinstance(value, bool) and isinstance(value, int | float):
        raise DataError(f"'{field}' is a number other than {wanted}", mend=f"write {wanted}")
    if isinstance(value, str) and isinstance(next(iter(meanings)), str):
        raise DataError(f"'{field}' is '{value[:40]}', not {wanted}", mend=f"write {wanted}")
    raise wrong_type(field, value, wanted)


def tags_of(row: JsonObject, *fields: str) -> dict[str, str]:
    """Those of the fields that hold text."""
    found = ((field, row.get(field)) for field in fields)
    return {field: value for field, value in found if isinstance(value, str)}


def field_names(row: JsonObject) -> str:
    """The names of the fields of a row, for messages."""
    names = [f"'{name[:40]}'" for name in row][:_SHOWN]
    more = ["..."] if len(row) > _SHOWN else []
    return ", ".join(names + more) or "none"


def remaining(row: JsonObject, used: Collection[str]) -> JsonObject:
    """The fields of a row that a format did not use."""
    return {field: value for field, value in row.items() if field not in used}


def wrong_type(field: str, value: object, wanted: str) -> DataError:
    """The error of a field that holds another type than it must."""
    return DataError(f"'{field}' is {_kind(value)}, not {wanted}", mend=f"write {wanted}")


def _kind(value: object) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    kinds = {str: "text", dict: "an object", list: "a list", int: "a number", float: "a number"}
    return next((kinds[kind] for kind in kinds if isinstance(value, kind)), type(value).__name__)
