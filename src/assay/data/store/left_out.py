"""Rows that a store leaves out, as lines of its files: written, and read when asked for."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

from assay.data.group_json import json_line
from assay.data.loading import SkippedRow
from assay.data.records import Source
from assay.data.rows import BadRow

DROPPED, BAD_ROWS = "dropped.jsonl", "bad_rows.jsonl"

Item = TypeVar("Item")


def skipped_line(row: SkippedRow) -> str:
    """A row that was left out, as a line of `dropped.jsonl`."""
    return json_line({"row": str(row.source), "reason": row.reason})


def read_skipped(line: str) -> SkippedRow:
    """What `skipped_line` wrote."""
    fields = json.loads(line)
    return SkippedRow(Source.read(fields["row"]), fields["reason"])


def bad_row_line(row: BadRow) -> str:
    """A bad row, as a line of `bad_rows.jsonl`."""
    return json_line(row.as_dict())


def read_bad_row(line: str) -> BadRow:
    """What `bad_row_line` wrote."""
    fields = json.loads(line)
    return BadRow(**fields | {"source": Source.read(fields["source"])})


class LineFile(Sequence[Item]):
    """The lines of a file, none of them in memory while they are passed over one by one.

    Args:
        path: the file.
        count: its lines.
        read: what a line says.
    """

    def __init__(self, path: Path, count: int, read: Callable[[str], Item]) -> None:
        self._path = path
        self._count = count
        self._read = read

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[Item]:
        with self._path.open(encoding="utf-8", newline="\n") as file:
            yield from map(self._read, file)

    def __getitem__(self, index: Any) -> Any:
        return list(self)[index]
