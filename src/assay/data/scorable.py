"""From the rows of a source to what can be scored: each file's format is found once, then holds."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping

from assay.data.columns import Columns
from assay.data.formats import (
    Format,
    FormatOptions,
    Scorable,
    check_label,
    detect_format,
    get_format,
)
from assay.data.records import Source
from assay.data.rows import BadRow, Line, Row, UnreadRow, bad_row, read_line, unread_rows
from assay.data.sources import DataSource
from assay.data.strict_json import JsonObject
from assay.errors import DataError

ScorableRow = tuple[Source, JsonObject, Scorable]
"""The place of a row, its fields, and what there is to score in it."""


class SourceReader:
    """One pass over a source: every row, in order, as its file's format reads it.

    `formats` and `fingerprint` are final once it is read through.

    The first row of a file that some format knows decides the format of all rows of that file,
    unless the source names it. Rows that do not fit it are bad rows.

    Args:
        source: what to read.
        need_comparisons: a format without comparisons is an error.
        formats: by file, the name of its format, where another pass has found them.

    Raises:
        DataError: the source names an unknown format, or a label that the format does not have;
            while iterating: the source cannot be read as a whole, no row of it has a known
            format, a column is in no row, or the format has no comparisons and they are needed.
    """

    def __init__(
        self,
        source: DataSource,
        *,
        need_comparisons: bool = False,
        formats: Mapping[str, str] | None = None,
    ) -> None:
        self._source = source
        self._need_comparisons = need_comparisons
        self._columns = Columns(source.columns or {})
        self._options = FormatOptions(source.label)
        self._digest = hashlib.sha256()
        self._formats = {
            file: self._checked(name, source.path) for file, name in (formats or {}).items()
        }
        self._named: Format | None = None
        if source.format != "auto":
            self._named = self._checked(source.format, source.path)

    @property
    def formats(self) -> dict[str, str]:
        """By file, the name of the format of its rows; without files of which no row is known."""
        return {file: known.name for file, known in self._formats.items()}

    @property
    def format(self) -> str:
        """The names of all formats, as people read them; what the source says where none is."""
        return ", ".join(dict.fromkeys(self.formats.values())) or self._source.format

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the bytes read so far: all files in their order, as they lie on the disk."""
        return self._digest.hexdigest()

    def __iter__(self) -> Iterator[ScorableRow | BadRow]:
        for row in self.rows():
            yield self.read(row)

    def rows(self) -> Iterator[UnreadRow]:
        """The rows before a format reads them; that of a row's file is known when it is given."""
        unknown: DataError | None = None
        for row in unread_rows(self._source, self._digest.update):
            file = row.file if isinstance(row, Line) else row.source.file
            looked_for = file not in self._formats and self._named is None
            if isinstance(row, Line) and (looked_for or self._columns.unseen):
                row = read_line(row)
            if isinstance(row, Row):
                self._columns.look_for(row.fields, row.source)
            if isinstance(row, BadRow) or file in self._formats:
                yield row
                continue
            if self._named is not None:
                self._formats[file] = self._named
            elif isinstance(row, Row):
                try:
                    fields = self._columns.apply(row.fields, missing=True)
                    name = detect_format(fields, row.source, self._columns.names).name
                except DataError as refused:
                    error = self._columns.explained(refused, row.fields, names_it=False)
                    placed = DataError(error.what, where=row.source, mend=error.mend)
                    unknown = unknown or placed
                    yield bad_row(row.source, error, row.raw)
                    continue
                self._formats[file] = self._checked(name, file)
            yield row
        self._columns.check_seen()
        if not self._formats and unknown is not None:
            raise unknown

    def read(self, row: UnreadRow) -> ScorableRow | BadRow:
        """What the format of its file makes of a row; its fields stay as they were."""
        row = read_line(row) if isinstance(row, Line) else row
        if isinstance(row, BadRow):
            return row
        fields = self._columns.apply(row.fields)
        known = self.format_of(row.source.file)
        try:
            scorable = known.read(fields, row.source, self._options)
        except DataError as error:
            flaw = self._columns.explained(error, row.fields)
            mend = flaw.mend
            # A column that is not there needs no other format; and who names one means it.
            if flaw is error and self._named is None:
                mend = _other_format(fields, row.source, known) or mend
            return bad_row(row.source, DataError(flaw.what, mend=mend), row.raw)
        return row.source, row.fields, scorable

    def format_of(self, file: str) -> Format:
        """The format of a file's rows, which is known once one of them has been given."""
        return self._formats[file] if self._named is None else self._named

    def _checked(self, name: str, where: str) -> Format:
        try:
            known = get_format(name)
            check_label(known, self._source.label)
        except DataError as error:
            raise DataError(error.what, where=where, mend=error.mend) from None
        if self._need_comparisons and not known.comparisons:
            raise DataError(
                f"holds rows of the format '{name}' ({known.fields}), without comparisons",
                where=where,
                mend="give it to `assay score`; training and evaluation need two answers and "
                "which one is better",
            )
        return known


def _other_format(fields: JsonObject, place: Source, known: Format) -> str | None:
    """What to do with a row that is a good one of another format than its file's, if it is."""
    try:
        other = detect_format(fields, place)
        other.read(fields, place, FormatOptions())
    except DataError:
        return None
    if other.name == known.name:
        return None
    return (
        f"its file is read as {known.name}, and this row looks like {other.name}: put such rows "
        "into a file of their own"
    )
