"""JSON lines: each line is one row."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator

from assay.data.records import Source
from assay.data.rows.row import BadRow, Line, Row, bad_row
from assay.data.sources import STDIN
from assay.data.strict_json import Parsed, StrictDecoder, depth_error

BOM = b"\xef\xbb\xbf"
_DECODER = StrictDecoder()


def unread_lines(name: str, lines: Iterable[bytes]) -> Iterator[Line]:
    """The lines of a file that are not blank."""
    for number, line in enumerate(lines, start=1):
        data = (line.removeprefix(BOM) if number == 1 else line).strip()
        if data:
            yield Line(name, number, data)


def read_line(line: Line) -> Row | BadRow:
    """The row of a line."""
    return _row_of_line(_DECODER, line.data, Source(line.file, line.number))


def row_of_value(parsed: Parsed, source: Source, text: str) -> Row | BadRow:
    """A JSON value as a row; `text` is what it was read from."""
    if parsed.flaw is not None:
        return bad_row(source, parsed.flaw, text)
    if not isinstance(parsed.value, dict):
        return BadRow(source, "is not a JSON object", "write each row as {...}", text)
    return Row(source, parsed.value, text)


def _row_of_line(decoder: StrictDecoder, data: bytes, source: Source) -> Row | BadRow:
    try:
        text = data.decode()
    except UnicodeDecodeError:
        raw = data.decode(errors="backslashreplace")
        return BadRow(source, "is not UTF-8", "save as UTF-8", raw)
    try:
        return row_of_value(decoder.parse_all(text), source, text)
    except json.JSONDecodeError as error:
        what = f"is not valid JSON ({error.msg}, column {error.colno})"
        mend = "write one JSON object per line"
        if source.file == STDIN:
            mend += ", or name the file instead of -"
        elif text.startswith("["):
            mend += ", or name the file .json if it is a list"
        return BadRow(source, what, mend, text)
    except RecursionError:
        return bad_row(source, depth_error(), text)
