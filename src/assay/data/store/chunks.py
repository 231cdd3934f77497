"""The first stage: rows, read and sorted by prompt into partitions on the disk."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path

from assay.data.group_json import group_to_json, json_line
from assay.data.loading import SkippedRow, sorted_row
from assay.data.records import Group, prompt_key
from assay.data.rows import BadRow, Row
from assay.data.scorable import SourceReader
from assay.data.sources import DataSource
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
    """Some rows in a row, from the one with this ordinal on."""

    number: int
    first: Ordinal
    rows: list[Row | BadRow]


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
        self._reader = SourceReader(source, need_comparisons=True)
        rows = self._reader.rows()
        self._first: list[Row | BadRow] = []
        self.is_small = True
        """Whether all rows are in memory already."""
        characters = 0
        for row in rows:
            self._first.append(row)
            characters += len(row.raw)
            if len(self._first) == ROWS_IN_MEMORY or characters >= CHARACTERS_IN_MEMORY:
                self.is_small = False
                break
        self._rest = rows

    @property
    def format(self) -> str:
        """The format of the rows; final once they are read."""
        return self._reader.format.name if self._reader.format else self._source.format

    def all_rows(self) -> SortedRows:
        """The rows of a small source."""
        return sort_rows(replace(self._source, format=self.format), Chunk(0, 0, self._first))

    def chunks(self) -> Iterator[Chunk]:
        """All rows; memory holds a chunk."""
        rows: list[Row | BadRow] = []
        number = first = characters = 0
        begun, self._first = self._first, []
        begun.reverse()
        for row in chain(_emptying(begun), self._rest):
            rows.append(row)
            characters += len(row.raw)
            if len(rows) == _ROWS or characters >= _CHARACTERS:
                yield Chunk(number, first, rows)
                number, first, characters, rows = number + 1, first + len(rows), 0, []
        if rows:
            yield Chunk(number, first, rows)


def sort_rows(source: DataSource, chunk: Chunk) -> SortedRows:
    """Let the format, which the source names, read the rows."""
    found = SortedRows([], [], [], len(chunk.rows))
    if source.format == "auto":  # No row had a known format.
        found.bad_rows = [row for row in chunk.rows if isinstance(row, BadRow)]
        return found
    reader = SourceReader(source, need_comparisons=True)
    for ordinal, row in enumerate(chunk.rows, start=chunk.first):
        read = row if isinstance(row, BadRow) else reader.read(row)
        place = sorted_row(read, reader.format)
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
                yield path, replace(source, format=rows.format), chunk, partitions

    paths: list[Path] = []
    for _ in workers.run(spill_chunk, calls()):
        pass
    spills = [read_spill(path) for path in paths]
    return [spill for spill in spills if spill is not None]


def spill_chunk(
    preparation: Preparation, path: Path, source: DataSource, chunk: Chunk, partitions: int
) -> None:
    """Write the rows of a chunk by the partition of their prompt.

    Raises:
        OSError: the disk refused.
    """
    found = sort_rows(source, chunk)
    blocks: list[list[str]] = [[] for _ in range(partitions)]
    for ordinal, group in found.groups:
        key = prompt_key(group.prompt, group.tools, group.template_kwargs)
        blocks[int(key, 16) % partitions].append(f"{ordinal} {group_to_json(group)}")
    blocks.append([skipped_line(row) for row in found.skipped])
    blocks.append([bad_row_line(row) for row in found.bad_rows])
    write_spill(path, found.num_rows, blocks)


def skipped_line(row: SkippedRow) -> str:
    """A row that was left out, as a line of `dropped.jsonl`."""
    return json_line({"row": str(row.source), "reason": row.reason})


def bad_row_line(row: BadRow) -> str:
    """A bad row, as a line of `bad_rows.jsonl`."""
    parts = {"source": str(row.source), "what": row.what, "mend": row.mend, "raw": row.raw}
    return json_line(parts)


def _emptying(backwards: list[Row | BadRow]) -> Iterator[Row | BadRow]:
    while backwards:
        yield backwards.pop()
