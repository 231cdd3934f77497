"""A row as it was read, or why it could not be."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import NamedTuple

from assay.data.records import Source
from assay.data.strict_json import JsonObject
from assay.errors import DataError


@dataclass(frozen=True, slots=True)
class Row:
    """A row with named fields, its place, and its text where it was read from text."""

    source: Source
    fields: JsonObject
    text: str | None = None

    @property
    def raw(self) -> str:
        """The row's original text, or JSON of a row that was never text."""
        if self.text is not None:
            return self.text
        return json.dumps(self.fields, ensure_ascii=False)


class Line(NamedTuple):
    """A line of JSON that has not been read yet, and its place."""

    file: str
    number: int
    data: bytes


@dataclass(frozen=True, slots=True)
class BadRow:
    """A row that cannot be read, with its original text."""

    source: Source
    what: str
    mend: str
    raw: str

    def __str__(self) -> str:
        return str(DataError(self.what, where=self.source, mend=self.mend))

    def as_dict(self) -> dict[str, str]:
        """The row as files of bad rows hold it."""
        return {"source": str(self.source), "what": self.what, "mend": self.mend, "raw": self.raw}


UnreadRow = Row | BadRow | Line
"""What a source gives before `read_line`."""


def bad_row(source: Source, error: DataError, raw: str) -> BadRow:
    """The error of one row as a record of it."""
    return BadRow(source, error.what, error.mend or "", raw)
