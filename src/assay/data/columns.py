"""Columns: rows of any names become rows that a format knows, by a mapping that the user writes.

`{"prompt": "meta.question", "chosen": "answers.0.text"}` makes the field `prompt` of the field
`question` of `meta`, and `chosen` of the field `text` of the first of `answers`. A row that lacks a
column has not the field; whether it must have it is for the format to say.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping

from assay.data.nearest import did_you_mean
from assay.data.records import Source
from assay.data.strict_json import JsonObject
from assay.errors import ConfigError, DataError

_SHOWN = 12
_OR_ROW = ", or the row"
_NEXT = re.compile(r",(?=\s*\w+\s*=)")
"""Between two mappings in one flag; any other comma belongs to the name of a column."""


def parse_columns(given: Iterable[str]) -> dict[str, str]:
    """The mapping that flags such as `prompt=question` or `prompt=question,chosen=best` mean.

    Raises:
        ConfigError: one of them is not `FIELD=COLUMN`, or a field is given twice.
    """
    columns: dict[str, str] = {}
    for text in (text for flag in given for text in _NEXT.split(flag)):
        field, equals, path = (part.strip() for part in text.partition("="))
        if not (field and equals and path):
            raise ConfigError(
                f"'{text}' is no mapping of columns",
                where="--columns",
                mend="write FIELD=COLUMN, such as prompt=question or chosen=answers.0.text",
            )
        if field in columns:
            raise ConfigError(
                f"the field '{field}' is given twice", where="--columns", mend="give it once"
            )
        columns[field] = path
    return columns


class Columns:
    """A mapping of columns, and which of its columns no row has had so far."""

    def __init__(self, columns: Mapping[str, str]) -> None:
        self._columns = columns
        self._unseen: dict[str, tuple[Source, DataError] | None] = dict.fromkeys(columns)

    @property
    def names(self) -> Collection[str]:
        """The fields that the user has named."""
        return self._columns.keys()

    @property
    def unseen(self) -> bool:
        """Whether some column was in no row yet."""
        return bool(self._unseen)

    def look_for(self, row: JsonObject, place: Source) -> None:
        """See which of the columns that no row had this one has."""
        for field, first in list(self._unseen.items()):
            try:
                _value_at(row, self._columns[field])
            except DataError as error:
                self._unseen[field] = first or (place, error)
            else:
                del self._unseen[field]

    def check_seen(self) -> None:
        """See, behind the last row, that no column is a mistake.

        Raises:
            DataError: no row has it.
        """
        for first in self._unseen.values():
            if first is not None:
                place, error = first
                what = f"{error.what}, and so in every row"
                mend = str(error.mend).removesuffix(_OR_ROW)
                raise DataError(what, where=place, mend=mend)

    def apply(self, row: JsonObject, *, missing: bool = False) -> JsonObject:
        """The row with its fields under their new names.

        Columns that are renamed as a whole lose their old name; all other fields stay. A mapped
        field takes the place of one that already has its name.

        Args:
            row: the row.
            missing: give fields whose column the row lacks as null, rather than not at all.
        """
        if not self._columns:
            return row
        mapped: JsonObject = {}
        for field, path in self._columns.items():
            try:
                mapped[field] = _value_at(row, path)
            except DataError:
                if missing:
                    mapped[field] = None
        renamed = {*self._columns, *self._columns.values()}
        return mapped | {field: value for field, value in row.items() if field not in renamed}

    def explained(self, error: DataError, row: JsonObject, *, names_it: bool = True) -> DataError:
        """The first column that a row lacks, in the place of an error that comes of it, if any.

        Args:
            error: what a format says of the row.
            row: the row.
            names_it: only a column whose field the error names.
        """
        for field, path in self._columns.items():
            if not names_it or f"'{field}'" in error.what:
                try:
                    _value_at(row, path)
                except DataError as missing:
                    return missing
        return error


def _value_at(row: JsonObject, path: str) -> object:
    """The value at a dotted path; a field whose own name has dots goes before.

    Raises:
        DataError: the row has no such column.
    """
    if path in row:
        return row[path]
    value: object = row
    seen: list[str] = []
    for step in path.split("."):
        if isinstance(value, dict) and step in value:
            value = value[step]
        elif (
            isinstance(value, list) and step.isascii() and step.isdigit() and int(step) < len(value)
        ):
            value = value[int(step)]
        else:
            raise _missing(path, step, value, ".".join(seen))
        seen.append(step)
    return value


def _missing(path: str, step: str, value: object, within: str) -> DataError:
    place = f" in '{within}'" if within else ""
    if isinstance(value, dict):
        names = [str(name) for name in value]
        shown = ", ".join(f"'{name[:40]}'" for name in names[:_SHOWN]) or "none"
        more = ", ..." if len(names) > _SHOWN else ""
        held = f"only {shown}{more}"
        near = did_you_mean(step, names)
    elif isinstance(value, list):
        held, near = f"a list of {len(value)}", ""
    else:
        held, near = "null" if value is None else "neither an object nor a list", ""
    what = f"there is no column '{path}'"
    if step != path:
        what += f": no '{step}'{place}"
    return DataError(f"{what}, {held}", mend=f"{near}correct columns{_OR_ROW}")
