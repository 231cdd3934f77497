"""Rows on their way to their partition: one file for each chunk of rows, written once.

A file holds a block of lines for each partition, one for the rows that were left out and one for
the bad rows, then where each block begins, as JSON, and the length of that. Within a block lines
stand in the order of the rows.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from assay.files import whole_file

_LENGTH = 8


@dataclass(frozen=True, slots=True)
class Spill:
    """A chunk of rows: lines of groups by partition, rows left out, bad rows."""

    path: Path
    num_rows: int
    begins: tuple[int, ...]
    """Of each block, in bytes, and the end of the last."""

    @property
    def is_empty(self) -> bool:
        """Whether no partition has a line."""
        return self.begins[-3] == 0

    def lines(self, block: int) -> Iterator[bytes]:
        """The lines of a block; one partition's, or with -2 the rows left out, -1 the bad rows."""
        index = block if block >= 0 else len(self.begins) - 1 + block
        begin, end = self.begins[index], self.begins[index + 1]
        if begin == end:
            return
        with self.path.open("rb") as file:
            file.seek(begin)
            yield from file.read(end - begin).splitlines()


def write_spill(path: Path, num_rows: int, blocks: Sequence[Sequence[str]]) -> None:
    """Write the blocks of a chunk: partitions, rows left out, bad rows.

    Raises:
        OSError: the disk refused.
    """
    begins = [0]
    with whole_file(path, lasting=False) as partial, partial.open("wb") as file:
        for block in blocks:
            data = "".join(line + "\n" for line in block).encode()
            file.write(data)
            begins.append(begins[-1] + len(data))
        about = json.dumps({"num_rows": num_rows, "begins": begins}).encode()
        file.write(about + len(about).to_bytes(_LENGTH, "little"))


def read_spill(path: Path) -> Spill | None:
    """What stands in a chunk's file, or None where it is absent or torn."""
    try:
        with path.open("rb") as file:
            end = file.seek(0, 2)
            file.seek(end - _LENGTH)
            length = int.from_bytes(file.read(_LENGTH), "little")
            file.seek(end - _LENGTH - length)
            about = json.loads(file.read(length))
            begins = tuple(about["begins"])
            if begins[-1] + length + _LENGTH != end:
                return None
            return Spill(path, about["num_rows"], begins)
    except (OSError, ValueError, KeyError, TypeError):
        return None
