"""A `.json` file: a list of rows of any length, one row, or in truth JSON lines.

A list is read item by item in bounded memory: blocks of bytes are decoded into a window of text,
and an item that the window cuts is read again when the window has grown.
"""

from __future__ import annotations

import codecs
import io
import json
from collections.abc import Iterator
from itertools import chain

from assay.data.records import Source
from assay.data.rows.json_lines import BOM, row_of_value, unread_lines
from assay.data.rows.row import UnreadRow
from assay.data.rows.stream import BLOCK, ByteReader
from assay.data.sources import KINDS_OF_FILE
from assay.data.strict_json import Parsed, StrictDecoder, behind_space, depth_error
from assay.errors import DataError

_CUT = 16
"""An error within so many characters of the window's end may come from the cut: the longest token
that JSON's parser cannot begin to read is shorter (`-Infinity`, an escaped surrogate pair)."""


def rows_of_lines_or_document(name: str, stream: ByteReader) -> Iterator[UnreadRow]:
    """The rows of a stream that nobody named: JSON lines as they come, or a whole document.

    Raises:
        DataError: as `rows_of_document`.
    """
    head = b""
    while not head.removeprefix(BOM).strip() and (line := stream.readline(BLOCK)):
        head += line
    listed = head.removeprefix(BOM).lstrip().startswith(b"[")
    # A row that is written on one line ends with a brace.
    goes_on = head.endswith(b"\n") and head.rstrip().endswith((b"{", b"[", b","))
    if listed or goes_on:
        return rows_of_document(name, stream, head)
    return unread_lines(name, chain(io.BytesIO(head + stream.readline()), stream))


def rows_of_document(name: str, stream: ByteReader, head: bytes = b"") -> Iterator[UnreadRow]:
    """The rows of a `.json` file; in a list each has its 1-based number.

    Args:
        name: of the file.
        stream: its bytes.
        head: those that were read already.

    Raises:
        DataError: it is not JSON, or not UTF-8.
    """
    head += stream.read(BLOCK)
    while head and not head.removeprefix(BOM).strip():
        more = stream.read(BLOCK)
        if not more:
            return
        head += more
    if not head:
        return
    if head.removeprefix(BOM).lstrip().startswith(b"["):
        window = _Window(name, head, stream)
        for index, (parsed, text) in enumerate(_items(window), start=1):
            yield row_of_value(parsed, Source(name, index), text)
        return
    head += stream.readline()
    if _first_line_is_a_row(head):
        yield from unread_lines(name, chain(io.BytesIO(head), stream))
        return
    window = _Window(name, head, stream)
    parsed = window.whole()
    yield row_of_value(parsed, Source(name, 1), window.text[parsed.start : parsed.end])


class _Window:
    """A part of a long text, and the number of lines and columns that went before it."""

    def __init__(self, name: str, head: bytes, stream: ByteReader) -> None:
        self.text = ""
        self.at = 0
        self.ended = False
        self._name = name
        self._head = head
        self._stream = stream
        self._decoder = codecs.getincrementaldecoder("utf-8-sig")()
        self._parser = StrictDecoder()
        self._lines = 0
        self._column = 0
        self._byte_lines = 0

    def grow(self) -> None:
        """Forget what was read, and take in as much as is left again, at least a block."""
        self._forget()
        data = self._head or self._stream.read(max(BLOCK, len(self.text)))
        self._head = b""
        self.ended = not data
        try:
            self.text += self._decoder.decode(data, final=self.ended)
        except UnicodeDecodeError as error:
            before = bytes(error.object[: error.start]).count(b"\n")
            place = Source(self._name, self._byte_lines + before + 1)
            raise DataError("is not UTF-8", where=place, mend="save as UTF-8") from None
        self._byte_lines += data.count(b"\n")

    def behind_space(self) -> str:
        """Go behind white space and return the character there, or nothing at the end."""
        while True:
            self.at = behind_space(self.text, self.at)
            if self.at < len(self.text) or self.ended:
                return self.text[self.at : self.at + 1]
            self.grow()

    def value(self) -> tuple[Parsed, str]:
        """Read the value here, and its text."""
        while True:
            try:
                parsed = self._parser.parse(self.text, self.at)
            except json.JSONDecodeError as error:
                if self.ended or not self._may_be_cut(error):
                    raise self.broken(error) from None
            except RecursionError:
                flaw = depth_error()
                raise DataError(flaw.what, where=self._name, mend=flaw.mend) from None
            else:
                # A number near the end may go on, even behind `1e+`.
                if self.ended or parsed.end + len("e+") < len(self.text):
                    self.at = parsed.end
                    return parsed, self.text[parsed.start : parsed.end]
            self.grow()

    def whole(self) -> Parsed:
        """Read the one value that is the whole text."""
        while not self.ended:
            self.grow()
        try:
            return self._parser.parse_all(self.text)
        except json.JSONDecodeError as error:
            raise self.broken(error) from None
        except RecursionError:
            flaw = depth_error()
            raise DataError(flaw.what, where=self._name, mend=flaw.mend) from None

    def broken(self, error: json.JSONDecodeError) -> DataError:
        """The error of broken syntax, at its place in the file."""
        column = error.colno + (self._column if error.lineno == 1 else 0)
        return DataError(
            f"is not valid JSON ({error.msg}, column {column})",
            where=Source(self._name, self._lines + error.lineno),
            mend=f"give {KINDS_OF_FILE}",
        )

    def _forget(self) -> None:
        gone = self.text[: self.at]
        newlines = gone.count("\n")
        self._lines += newlines
        if newlines:
            self._column = 0
        self._column += len(gone) - (gone.rfind("\n") + 1)
        self.text = self.text[self.at :]
        self.at = 0

    def _may_be_cut(self, error: json.JSONDecodeError) -> bool:
        # The parser names the beginning of a string that does not end.
        unfinished = error.msg.startswith("Unterminated string")
        return unfinished or error.pos >= len(self.text.rstrip()) - _CUT


def _items(window: _Window) -> Iterator[tuple[Parsed, str]]:
    """The items of the list that the window begins with."""
    window.behind_space()
    window.at += 1
    if window.behind_space() != "]":
        while True:
            window.behind_space()
            yield window.value()
            following = window.behind_space()
            if following == "]":
                break
            if following != ",":
                raise window.broken(
                    json.JSONDecodeError("Expecting ',' delimiter", window.text, window.at)
                )
            window.at += 1
    window.at += 1
    if window.behind_space():
        raise window.broken(json.JSONDecodeError("Extra data", window.text, window.at))


def _first_line_is_a_row(head: bytes) -> bool:
    try:
        first = head.decode("utf-8-sig", errors="replace").strip().split("\n", 1)[0]
        return isinstance(json.loads(first), dict)
    except (ValueError, RecursionError):
        return False
