"""From the bytes of a source to rows with their places; a broken row does not hide the others."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import IO

from assay.data.records import Source
from assay.data.sources import KINDS_OF_FILE, DataSource, Part, locate, unreadable
from assay.data.strict_json import JsonObject, Parsed, StrictDecoder, depth_error, parse_items
from assay.errors import DataError

_BOM = b"\xef\xbb\xbf"


@dataclass(frozen=True, slots=True)
class Row:
    """A row that is a JSON object, its place and its original text."""

    source: Source
    fields: JsonObject
    raw: str


@dataclass(frozen=True, slots=True)
class BadRow:
    """A row that cannot be read, with its original text."""

    source: Source
    what: str
    mend: str
    raw: str

    def __str__(self) -> str:
        return str(DataError(self.what, where=self.source, mend=self.mend))


def read_rows(
    source: DataSource, on_bytes: Callable[[bytes], object] | None = None
) -> Iterator[Row | BadRow]:
    """The rows of a source in order; blank lines are passed over.

    Args:
        source: what to read. The place of a row is its line, or its 1-based index in a JSON list.
        on_bytes: is given every byte that is read, for a fingerprint.

    Raises:
        DataError: the source is not there, cannot be read as a whole, or holds no rows.
    """
    for part in locate(source):
        empty = True
        try:
            with part.open() as file:
                for row in _rows_of_part(part, file, on_bytes or (lambda data: None)):
                    empty = False
                    yield row
        except OSError as error:
            raise unreadable(error, part.name) from None
        if empty:
            raise DataError("holds no rows", where=part.name, mend="check what wrote it")


def bad_row(source: Source, error: DataError, raw: str) -> BadRow:
    """The error of one row as a record of it."""
    return BadRow(source, error.what, error.mend or "", raw)


def _rows_of_part(
    part: Part, file: IO[bytes], on_bytes: Callable[[bytes], object]
) -> Iterator[Row | BadRow]:
    if part.lines:
        yield from _rows_of_lines(part.name, file, on_bytes)
    else:
        data = file.read()
        on_bytes(data)
        yield from _rows_of_json(part.name, data)


def _rows_of_lines(
    name: str, lines: Iterable[bytes], on_bytes: Callable[[bytes], object] | None = None
) -> Iterator[Row | BadRow]:
    decoder = StrictDecoder()
    for number, line in enumerate(lines, start=1):
        if on_bytes is not None:
            on_bytes(line)
        data = (line.removeprefix(_BOM) if number == 1 else line).strip()
        if data:
            yield _row_of_line(decoder, data, Source(name, number))


def _row_of_line(decoder: StrictDecoder, data: bytes, source: Source) -> Row | BadRow:
    try:
        text = data.decode()
    except UnicodeDecodeError:
        raw = data.decode(errors="backslashreplace")
        return BadRow(source, "is not UTF-8", "save as UTF-8", raw)
    try:
        return _row_of_value(decoder.parse_all(text), source, text)
    except json.JSONDecodeError as error:
        what = f"is not valid JSON ({error.msg}, column {error.colno})"
        mend = "write one JSON object per line"
        if text.startswith("["):
            mend += ", or name the file .json if it is a list"
        return BadRow(source, what, mend, text)
    except RecursionError:
        return bad_row(source, depth_error(), text)


def _row_of_value(parsed: Parsed, source: Source, raw: str) -> Row | BadRow:
    if parsed.flaw is not None:
        return bad_row(source, parsed.flaw, raw)
    if not isinstance(parsed.value, dict):
        return BadRow(source, "is not a JSON object", "write each row as {...}", raw)
    return Row(source, parsed.value, raw)


def _rows_of_json(name: str, data: bytes) -> Iterator[Row | BadRow]:
    """The rows of a `.json` file: a list, one object, or in truth JSON lines."""
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        place = Source(name, data.count(b"\n", 0, error.start) + 1)
        raise DataError("is not UTF-8", where=place, mend="save as UTF-8") from None
    if not text.strip():
        return
    try:
        items = parse_items(text)
    except json.JSONDecodeError as error:
        if _first_line_is_a_row(text):
            yield from _rows_of_lines(name, io.BytesIO(data))
            return
        raise DataError(
            f"is not valid JSON ({error.msg}, column {error.colno})",
            where=Source(name, error.lineno),
            mend=f"give {KINDS_OF_FILE}",
        ) from None
    except RecursionError:
        raise DataError(depth_error().what, where=name, mend=depth_error().mend) from None
    for index, parsed in enumerate(items, start=1):
        yield _row_of_value(parsed, Source(name, index), text[parsed.start : parsed.end])


def _first_line_is_a_row(text: str) -> bool:
    try:
        return isinstance(json.loads(text.strip().split("\n", 1)[0]), dict)
    except (ValueError, RecursionError):
        return False
