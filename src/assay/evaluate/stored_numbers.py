"""Numbers and places in files of scores, read as what they must be."""

from __future__ import annotations

import math

from assay.data.formats.fields import as_number, require, wrong_type
from assay.data.records import Source
from assay.data.strict_json import JsonObject
from assay.errors import DataError


def one_score(value: object, field: str) -> float:
    """A stored reward; some pipelines write each as a list of one.

    Raises:
        DataError: it is no finite number: compared, it would be neither win, tie nor loss.
    """
    if isinstance(value, list) and len(value) == 1:
        value = value[0]
    if isinstance(value, float) and not math.isfinite(value):
        raise DataError(
            f"'{field}' is {value}, and a reward must be finite",
            mend="score the row again; it cannot be counted as a win, a tie or a loss",
        )
    return as_number(value, field)


def scores(row: JsonObject, field: str, count: int | None = None) -> tuple[float, ...]:
    """A list of stored rewards.

    Args:
        row: the row.
        field: holds the list.
        count: how many it must have.

    Raises:
        DataError: it is no list of so many finite numbers.
    """
    if field not in row:
        raise DataError(f"there is no field '{field}'", mend="give the file that holds the scores")
    value = row[field]
    if not isinstance(value, list):
        raise wrong_type(field, value, "a list of numbers")
    if count is not None and len(value) != count:
        raise DataError(
            f"'{field}' holds {len(value)} scores, not {count}", mend="give one for each response"
        )
    return tuple(one_score(each, f"{field}[{index}]") for index, each in enumerate(value))


def whole_numbers(row: JsonObject, field: str, count: int | None = None) -> tuple[int, ...]:
    """A list of whole numbers; arguments as of `scores`.

    Raises:
        DataError: it is something else.
    """
    value = require(row, field)
    if not isinstance(value, list) or any(type(each) is not int for each in value):
        raise wrong_type(field, value, "a list of whole numbers")
    if count is not None and len(value) != count:
        what = f"'{field}' holds {len(value)} counts of {count} rewards"
        raise DataError(what, mend="keep it as it was written")
    return tuple(value)


def place_of(text: str) -> Source:
    """The place that `FILE:LINE` names.

    Raises:
        DataError: it is not of that form.
    """
    file, _, line = text.rpartition(":")
    if not line.isdigit():
        raise DataError(f"'row' is '{text[:40]}', not FILE:LINE", mend="keep it as it was written")
    return Source(file, int(line))
