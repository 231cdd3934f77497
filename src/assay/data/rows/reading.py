"""Reading a source row by row; a broken row does not hide the others."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from assay.data.rows.columnar import rows_of_arrow, rows_of_parquet
from assay.data.rows.delimited import rows_of_delimited
from assay.data.rows.json_document import rows_of_document, rows_of_lines_or_document
from assay.data.rows.json_lines import read_line, unread_lines
from assay.data.rows.row import BadRow, Line, Row, UnreadRow
from assay.data.rows.stream import ByteReader, check_holds, decompressed, tapped
from assay.data.sources import STDIN, DataSource, Part, locate, unreadable
from assay.errors import DataError


def read_rows(
    source: DataSource, on_bytes: Callable[[bytes], object] | None = None
) -> Iterator[Row | BadRow]:
    """The rows of a source in order; blank lines are passed over. `unread_rows` says more."""
    for row in unread_rows(source, on_bytes):
        yield read_line(row) if isinstance(row, Line) else row


def unread_rows(
    source: DataSource, on_bytes: Callable[[bytes], object] | None = None
) -> Iterator[UnreadRow]:
    """The rows of a source in order; lines of JSON are left for `read_line`, in another process
    perhaps.

    Args:
        source: what to read. The place of a row is the line where it begins; in a JSON list, a
            Parquet or an Arrow file it is the 1-based number of the row.
        on_bytes: is given all bytes of each file as they lie on the disk (compressed, where they
            are) and in the order of the files, for a fingerprint. Whoever stops early has had the
            bytes that were read until then.

    Raises:
        DataError: the source is not there, cannot be read as a whole, or holds no rows.
    """
    for part in locate(source):
        empty = True
        try:
            for row in _rows_of_part(part, on_bytes or (lambda data: None)):
                empty = False
                yield row
        except OSError as error:
            raise unreadable(error, part.name) from None
        if empty:
            raise DataError("holds no rows", where=part.name, mend="check what wrote it")


def _rows_of_part(part: Part, on_bytes: Callable[[bytes], object]) -> Iterator[UnreadRow]:
    with part.open() as file:
        if part.kind == "parquet":
            yield from rows_of_parquet(part.name, file, on_bytes)
        elif part.kind == "arrow":
            yield from rows_of_arrow(part.name, file, on_bytes)
        else:
            stream = decompressed(tapped(file, on_bytes), part)
            check_holds(stream, part)
            yield from _rows_of_text(part, stream)


def _rows_of_text(part: Part, stream: ByteReader) -> Iterator[UnreadRow]:
    if part.name == STDIN:
        return rows_of_lines_or_document(part.name, stream)
    if part.kind == "lines":
        return unread_lines(part.name, stream)
    if part.kind == "json":
        return rows_of_document(part.name, stream)
    return rows_of_delimited(part.name, stream, delimiter="\t" if part.kind == "tsv" else ",")
