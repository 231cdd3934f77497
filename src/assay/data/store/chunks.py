"""The first stage: rows, read and sorted by prompt into partitions on the disk."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from zlib import crc32

from assay.data.group_json import group_to_json
from assay.data.loading import SkippedRow, sorted_row
from assay.data.records import Group
from assay.data.rows import BadRow, Line, UnreadRow
from assay.data.scorable import SourceReader
from assay.data.sources import DataSource
from assay.data.store.left_out import bad_row_line, skipped_line
from assay.data.store.settings import Preparation
from assay.data.store.spill import Spill, read_spill, write_spill
from assay.data.store.workers import Workers

ROWS_IN_MEMORY, CHARACTERS_IN_MEMORY = 5000, 32_000_000
"""Sources below both are prepared without a detour over the disk."""
_ROWS, _CHARACTERS = 2048, 8_000_000
"""Of a chunk: it ends where one of them is reached."""
_BYTES_OF_PARTITION = 16 << 20
_FEWEST, _MOST = 16, 512

Ordinal = int
"""The number of a row within its source, from 0."""


@dataclass(frozen=True, slots=True)
class Chunk:
    """Some rows in a row, from the one with this ordinal on, and the formats of their files."""

    number: int
    first: Ordinal
    rows: list[UnreadRow]
    formats: Mapping[str, str]


@dataclass
class SortedRows:
    """What became of rows: groups, each of one row, rows left out, and bad rows."""

    groups: list[tuple[Ordinal, Group]]
    skipped: list[SkippedRow]
    bad_rows: list[BadRow]
    num_rows: int


class RowSource:
    """One pass over a source, cut into chunks.

    Raises:
        DataError: as `SourceReader`.
    """

    def __init__(self, source: DataSource) -> None:
        self._source = source
        self.reader = SourceReader(source, need_comparisons=True)
        """What it says of formats is final once all rows are read."""
        rows = self.reader.rows()
        self._first: list[UnreadRow] = []
        self.is_small = True
        """Whether all rows are in memory already."""
        characters = 0
        for row in rows:
            self._first.append(row)
            characters += _length(row)
            if len(self._first) == ROWS_IN_MEMORY or characters >= CHARACTERS_IN_MEMORY:
                self.is_small = False
                break
        self._rest = rows

    def all_rows(self) -> SortedRows:
        """The rows of a small source."""
        return sort_rows(self._source, Chunk(0, 0, self._first, self.reader.formats))

    def chunks(self) -> Iterator[Chunk]:
        """All rows; memory holds a chunk."""
        rows: list[UnreadRow] = []
        number = first = characters = 0
        begun, self._first = self._first, []
        begun.reverse()
        for row in chain(_emptying(begun), self._rest):
            rows.append(row)
            characters += _length(row)
            if len(rows) == _ROWS or characters >= _CHARACTERS:
                yield self._chunk(number, first, rows)
                number, first, characters, rows = number + 1, first + len(rows), 0, []
        if rows:
            yield self._chunk(number, first, rows)

    def _chunk(self, number: int, first: Ordinal, rows: list[UnreadRow]) -> Chunk:
        known = self.reader.formats
        files = {row.file if isinstance(row, Line) else row.source.file for row in rows}
        return Chunk(number, first, rows, {file: known[file] for file in files & known.keys()})


def _length(row: UnreadRow) -> int:
    return len(row.data if isinstance(row, Line) else row.raw)


def sort_rows(source: DataSource, chunk: Chunk) -> SortedRows:
    """Let the formats of their files read the rows."""
    found = SortedRows([], [], [], len(chunk.rows))
    reader = SourceReader(source, need_comparisons=True, formats=chunk.formats)
    for ordinal, row in enumerate(chunk.rows, start=chunk.first):
        place = sorted_row(reader.read(row), reader)
        if isinstance(place, BadRow):
            found.bad_rows.append(place)
        elif isinstance(place, SkippedRow):
            found.skipped.append(place)
        else:
            found.groups.append((ordinal, place))
    return found


def number_of_partitions(num_bytes: int) -> int:
    """How many partitions the rows of so many bytes take: each fits into memory many times."""
    return max(_FEWEST, min(_MOST, -(-num_bytes // _BYTES_OF_PARTITION)))


def spill_all(
    rows: RowSource, source: DataSource, directory: Path, partitions: int, workers: Workers
) -> list[Spill]:
    """Spill all rows; chunks whose file is there already are not read again.

    Raises:
        OSError: the disk refused.
        DataError: as `SourceReader`.
    """

    def calls() -> Iterator[tuple[Path, DataSource, Chunk, int]]:
        for chunk in rows.chunks():
            path = directory / f"{chunk.number:06}.spill"
            known = read_spill(path)
            paths.append(path)
            if known is None or known.num_rows != len(chunk.rows):
                yield path, source, chunk, partitions

    paths: list[Path] = []
    for _ in workers.run(spill_chunk, calls()):
        pass
    spills = [read_spill(path) for path in paths]
    return [spill for spill in spills if spill is not None]


def spill_chunk(
    preparation: Preparation, path: Path, source: DataSource, chunk: Chunk, partitions: int
) -> None:
    """Write the rows of a chunk by the partition of their prompt, or of their id.

    Raises:
        OSError: the disk refused.
    """
    found = sort_rows(source, chunk)
    blocks: list[list[str]] = [[] for _ in range(partitions)]
    by_row = preparation.group_by == "row"
    for ordinal, group in found.groups:
        line = f"{ordinal} {group.key} {group_to_json(group)}"
        # Rows that stay alone need other ids than their equals; rated ones meet by their prompt.
        alone = by_row and group.comparisons
        home = crc32(group.id.encode(errors="replace")) if alone else int(group.key, 16)
        blocks[home % partitions].append(line)
    blocks.append([skipped_line(row) for row in found.skipped])
    blocks.append([bad_row_line(row) for row in found.bad_rows])
    write_spill(path, found.num_rows, blocks)


def _emptying(backwards: list[UnreadRow]) -> Iterator[UnreadRow]:
    while backwards:
        yield backwards.pop()
