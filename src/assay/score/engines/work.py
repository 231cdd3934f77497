"""What there is to score, for whoever scores it."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from assay.data.rows import UnreadRow
from assay.data.scorable import SourceReader
from assay.data.sources import DataSource
from assay.score.lines import Layout
from assay.score.shards import Shard
from assay.score.window import ScoredWindow, unread_windows


@dataclass(frozen=True, slots=True)
class Work:
    """The windows of a job that are not done. It can be pickled.

    Attributes:
        source: the rows.
        formats: by file, the name of its format.
        layout: how rows are written.
        max_length: tokens of a sequence; None takes the model's context.
        limit: rows to take at most.
        size: rows of a window.
        shard: which windows are the job's.
        done: the numbers of those that are scored already.
    """

    source: DataSource
    formats: Mapping[str, str]
    layout: Layout
    max_length: int | None
    limit: int | None
    size: int
    shard: Shard
    done: frozenset[int]

    def reader(self) -> SourceReader:
        """Of the source, which knows the formats."""
        return SourceReader(self.source, formats=self.formats)

    def unread(self) -> Iterator[tuple[int, list[UnreadRow]]]:
        """The windows with their numbers, in order, their rows not yet read."""
        for number, rows in unread_windows(self.reader(), self.size, self.limit):
            if number in self.shard and number not in self.done:
                yield number, rows


class Elsewhere(Protocol):
    """Scores the windows of a job in other processes."""

    @property
    def identity(self) -> dict[str, Any]:
        """By name, all that decides the rewards but for the last bits: as of a rewarder."""

    @property
    def circumstances(self) -> dict[str, Any]:
        """What the last bits may depend on and is not as in this process."""

    def windows(self, work: Work) -> Generator[ScoredWindow, None, None]:
        """Each window of the work, in order; to close the iterator ends the work.

        Raises:
            AssayError: a window cannot be scored.
        """
