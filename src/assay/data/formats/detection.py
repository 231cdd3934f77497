"""Which format a row is of; and what to do about one that no format knows."""

from __future__ import annotations

import re
from collections.abc import Collection
from shlex import quote

from assay.data.cells import Cell
from assay.data.formats.answers import ANSWERS
from assay.data.formats.fields import field_names
from assay.data.formats.registry import Format, registered_formats
from assay.data.records import Source
from assay.data.strict_json import JsonObject
from assay.errors import DataError

_MEANINGS = {
    "prompt": "prompt question query instruction problem input ask asked user context",
    "chosen": "chosen best better good win winner winning preferred accepted positive pos correct",
    "rejected": "rejected reject worst worse bad lose loser losing dispreferred negative neg "
    "incorrect wrong",
    "response": "response answer output completion reply",
}
"""For each field of a preference, or of a row with one answer, words in the names of others."""
_AROUND = frozenset(("data", "rows", "examples", "records", "items", "train", "test", "validation"))
"""Under what some files keep their list of rows."""


def detect_format(row: JsonObject, source: Source, named: Collection[str] = ()) -> Format:
    """The first format that knows the row as its own.

    Args:
        row: the row.
        source: its place.
        named: fields that the user has named; a format that reads more of them goes first.

    Raises:
        DataError: none does.
    """
    knowing = (known for known in registered_formats() if known.detects(row))
    if named:  # Of those that read as many of them, `max` takes the first.
        found = max(knowing, key=lambda known: len(_words(known) & set(named)), default=None)
    else:
        found = next(knowing, None)
    if found is None:
        raise unknown_row(row, source)
    return found


def unknown_row(row: JsonObject, source: Source | None = None) -> DataError:
    """The error of a row that no format knows, with the mend that is nearest."""
    what = f"no known format has the fields of this row: {field_names(row)}"
    around = [name for name, value in row.items() if _holds_rows(name, value)]
    if around:
        names = " and ".join(f"'{name}'" for name in around)
        return DataError(
            f"{what}; the rows stand under {names}",
            where=source,
            mend=f"write that list alone into a file, such as jq .{around[0]} makes",
        )
    mend = f"say which is which: {_mapping(row)}"
    if _shared(_nearest(row)[0], row) > 1:
        mend += f"; or rename them as in {nearest_formats(row)}"
    if any(isinstance(value, Cell) for value in row.values()):
        what += " (the first line was taken as the header)"
        mend = f"if there is no header, write prompt,chosen,rejected above the rows; else {mend}"
    return DataError(what, where=source, mend=mend)


def nearest_formats(row: JsonObject) -> str:
    """The two formats that name most of a row's fields; the commonest ones where none does."""
    near = [known for known in _nearest(row)[:2] if _shared(known, row)]
    near = near or [known for known in registered_formats() if known.name in ("trl", "hh")]
    return "; or ".join(f"{known.name} ({known.fields})" for known in near)


def _nearest(row: JsonObject) -> list[Format]:
    return sorted(registered_formats(), key=lambda known: -_shared(known, row))


def _shared(known: Format, row: JsonObject) -> int:
    return len(_words(known) & row.keys())


def _words(known: Format) -> set[str]:
    """The fields of a format, among other words."""
    return set(re.findall(r"\w+", known.fields))


def _holds_rows(name: str, value: object) -> bool:
    """Whether a field holds a list of rows, and not a part of one."""
    if not (isinstance(value, list) and value and isinstance(value[0], dict)):
        return False
    formats = registered_formats()
    return name in _AROUND or any(f.comparisons and f.detects(value[0]) for f in formats)


def _mapping(row: JsonObject) -> str:
    """The option that finds a preference, or else one answer, among the fields of the row."""
    pair = any(field in row or _meant(row, field) for field in ANSWERS)
    single = not pair and len(_meant(row, "response")) == 1
    fields = ("prompt", "response") if single else ("prompt", *ANSWERS)
    columns = {field: next(iter(_meant(row, field)), None) for field in fields if field not in row}
    flag = quote(",".join(f"{field}={column or 'FIELD'}" for field, column in columns.items()))
    entry = ", ".join(f"{field}: {column or 'FIELD'}" for field, column in columns.items())
    missing = ", where FIELD is one of these" if None in columns.values() else ""
    return f"--columns {flag} (in a recipe, columns: {{{entry}}}){missing}"


def _meant(row: JsonObject, field: str) -> list[str]:
    """The fields of a row whose names say that they are the asked one."""
    words = set(_MEANINGS[field].split())
    return [name for name in row if words & set(re.findall(r"[a-z]+", name.lower()))]
