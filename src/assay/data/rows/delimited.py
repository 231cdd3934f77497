"""CSV and TSV: a header, then one row a record; a quoted field may run over several lines."""

from __future__ import annotations

import csv
import sys
from collections.abc import Iterable, Iterator

from assay.data.cells import Cell
from assay.data.records import Source
from assay.data.rows.json_lines import BOM
from assay.data.rows.row import BadRow, Row, bad_row
from assay.data.strict_json import JsonObject
from assay.errors import DataError

# The module refuses fields over 128 KiB otherwise; it keeps one limit for the whole process.
csv.field_size_limit(sys.maxsize)

_NONE = "; if the first line is a row, write a header above it"
_OTHERS = {",": "commas", ";": "semicolons", "\t": "tabs"}
"""What may stand between columns; a spreadsheet's choice depends on its country."""


class _Lines:
    """Hands lines to the parser and keeps those of the record that it is reading."""

    def __init__(self, lines: Iterable[bytes]) -> None:
        self._lines = iter(lines)
        self.record: list[str] = []
        self.flaw: DataError | None = None
        self.number = 0

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        line = next(self._lines)
        self.number += 1
        if self.number == 1:
            line = line.removeprefix(BOM)
        try:
            text = line.decode()
        except UnicodeDecodeError:
            self.flaw = self.flaw or DataError("is not UTF-8", mend="save as UTF-8")
            text = line.decode(errors="backslashreplace")
        if "\0" in text:
            self.flaw = self.flaw or DataError(
                "holds a NUL byte", mend="remove it; if the file is UTF-16, save as UTF-8"
            )
        self.record.append(text)
        return text

    def next_record(self) -> int:
        """Forget the last record; the line where the next one begins."""
        self.record.clear()
        self.flaw = None
        return self.number + 1


def rows_of_delimited(
    name: str, lines: Iterable[bytes], *, delimiter: str
) -> Iterator[Row | BadRow]:
    """The rows of a CSV or TSV file, each with the line where it begins.

    Raises:
        DataError: there is no usable header.
    """
    kept = _Lines(lines)
    records = csv.reader(kept, delimiter=delimiter, strict=True)
    header: list[str] | None = None
    while True:
        place = Source(name, kept.next_record())
        try:
            cells = next(records)
        except StopIteration:
            return
        except csv.Error as error:
            what, mend = _explained(error)
            if header is None:
                raise DataError(what, where=place, mend=mend) from None
            yield BadRow(place, what, mend, "".join(kept.record))
            continue
        if not cells:
            continue
        if header is None:
            header = _checked_header(cells, kept.flaw, place)
            continue
        yield _row(header, cells, kept, place)


def _row(header: list[str], cells: list[str], kept: _Lines, place: Source) -> Row | BadRow:
    text = "".join(kept.record)
    if kept.flaw is not None:
        return bad_row(place, kept.flaw, text)
    if len(cells) != len(header):
        return BadRow(
            place,
            f"has {len(cells)} fields where the header has {len(header)}",
            'write every field, and put fields with separators, quotes or newlines in "..."',
            text,
        )
    fields: JsonObject = {column: Cell(cell) for column, cell in zip(header, cells, strict=True)}
    return Row(place, fields, text)


def _checked_header(cells: list[str], flaw: DataError | None, place: Source) -> list[str]:
    if flaw is not None:
        raise DataError(flaw.what, where=place, mend=flaw.mend)
    names = [cell.strip() for cell in cells]
    other = next((mark for mark in _OTHERS if len(names) == 1 and mark in names[0]), None)
    if other:
        raise DataError(
            f"its columns seem to be separated by {_OTHERS[other]}",
            where=place,
            mend="save it with commas as .csv, or with tabs as .tsv",
        )
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice:
        raise DataError(
            f"the header names the column '{twice}' twice", where=place, mend=f"rename one{_NONE}"
        )
    # An index without a name stands first in what pandas writes.
    if "" in names[1:] or names == [""]:
        raise DataError(
            "the header has a column without a name",
            where=place,
            mend=f"name every column{_NONE}",
        )
    return names


def _explained(error: csv.Error) -> tuple[str, str]:
    said = str(error)
    if "unexpected end of data" in said:
        return "a quoted field never ends", 'close it with ", and double each " inside a field'
    if "new-line character" in said:
        return "lines end in a bare carriage return", "save with \\n or \\r\\n at the ends of lines"
    return f"is not valid CSV ({said})", 'put the field in "...", and double each " inside it'
