"""A window: rows that are rendered, sorted, packed and scored together, and nothing with them.

Windows do not influence one another: one is the unit of resuming, of shards, and of whatever deals
work to other processes. `score_window` is a function of its arguments, and what it takes and gives
can be pickled.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

from assay.data.rows import BadRow, Line, UnreadRow
from assay.data.scorable import ScorableRow, SourceReader
from assay.errors import AssayError
from assay.score.lines import Layout, check_fields, line_of
from assay.score.rewarder import Rewarder
from assay.score.scorer import Progress

WINDOW = 4096
"""Rows of the input in one window, bad ones counted in; only the last one has fewer."""

NUMBERS = ("responses", "truncated", "unread_thoughts", "tokens", "computed")
"""What is counted of scored rows, by the names of `ScoredWindow`."""


@dataclass(frozen=True, slots=True)
class Window:
    """Rows that stand together in the input; `number` counts from 0."""

    number: int
    rows: list[ScorableRow | BadRow]
    digest: str


@dataclass(frozen=True, slots=True)
class ScoredWindow:
    """What became of a window.

    Attributes:
        number: of the window.
        digest: of the rows that went in.
        lines: of each scored row its line of the output, in order.
        bad_rows: those that could not be scored, in order.
        responses: rewards given.
        truncated: of them, to responses read without the beginning of their prompt.
        unread_thoughts: responses whose thoughts the template leaves out.
        tokens: of all sequences, as the model reads them.
        computed: that went through the layers.
    """

    number: int
    digest: str
    lines: list[str]
    bad_rows: list[BadRow]
    responses: int
    truncated: int
    unread_thoughts: int
    tokens: int
    computed: int

    def numbers(self) -> dict[str, int]:
        """How many rows were scored, and `NUMBERS` of them."""
        return {"rows": len(self.lines)} | {name: getattr(self, name) for name in NUMBERS}


def unread_windows(
    reader: SourceReader, size: int, limit: int | None
) -> Iterator[tuple[int, list[UnreadRow]]]:
    """The windows of a source with their numbers, their rows not yet read.

    Args:
        reader: of the source; it gives each row once.
        size: rows of a window.
        limit: rows to take at most.
    """
    rows = islice(reader.rows(), limit)
    number = 0
    while found := list(islice(rows, size)):
        yield number, found
        number += 1


def read_window(reader: SourceReader, number: int, rows: Sequence[UnreadRow]) -> Window:
    """A window as its file's format reads it."""
    return Window(number, [reader.read(row) for row in rows], digest_of(rows))


def digest_of(rows: Sequence[UnreadRow]) -> str:
    """16 hex digits of a hash of rows and their places."""
    digest = hashlib.sha256()
    for row in rows:
        if isinstance(row, Line):
            place, data = f"{row.file}:{row.number}", row.data
        else:
            place, data = str(row.source), row.raw.encode("utf-8", "backslashreplace")
        digest.update(f"{len(place)} {len(data)} {place}\n".encode("utf-8", "backslashreplace"))
        digest.update(data)
    return digest.hexdigest()[:16]


def unusable_rows(
    rewarder: Rewarder, window: Window, layout: Layout, max_length: int | None, *, render: bool
) -> list[BadRow]:
    """The rows of a window that would not be scored, found without a forward pass.

    Args:
        rewarder: what would score them.
        window: the rows.
        layout: how they would be written.
        max_length: tokens of a sequence.
        render: look for rows that the model cannot be given, too.

    Raises:
        DataError: rewards have no place in a row.
    """
    read = _read(window, layout)
    items = [item for _, _, item in read]
    found = rewarder.refusals(items, max_length) if render else [None] * len(read)
    refused = iter(zip(read, found, strict=True))
    bad: list[BadRow] = []
    for row in window.rows:
        if isinstance(row, BadRow):
            bad.append(row)
        elif (refusal := next(refused)[1]) is not None:
            bad.append(_refused(row, refusal))
    return bad


def score_window(
    rewarder: Rewarder,
    window: Window,
    layout: Layout,
    max_length: int | None = None,
    progress: Progress | None = None,
) -> ScoredWindow:
    """Score the rows of a window.

    Args:
        rewarder: what scores them.
        window: the rows.
        layout: how they are written.
        max_length: tokens of a sequence; None takes the model's context.
        progress: is told which share of the work is done.

    Raises:
        DataError: rewards have no place in a row.
        AssayError: as `score_sequences`.
    """
    read = _read(window, layout)
    before = rewarder.computed_tokens
    results = iter(rewarder.score([item for _, _, item in read], max_length, progress))
    lines: list[str] = []
    bad: list[BadRow] = []
    responses = truncated = unread = tokens = 0
    for row in window.rows:
        if isinstance(row, BadRow):
            bad.append(row)
            continue
        result = next(results)
        if isinstance(result, AssayError):
            bad.append(_refused(row, result))
            continue
        lines.append(line_of(row[1], row[0], result, layout))
        responses += len(result.scores)
        truncated += sum(result.truncated)
        unread += result.unread_thoughts
        tokens += sum(result.num_tokens)
    return ScoredWindow(
        window.number,
        window.digest,
        lines,
        bad,
        responses,
        truncated,
        unread,
        tokens,
        rewarder.computed_tokens - before,
    )


def _read(window: Window, layout: Layout) -> list[ScorableRow]:
    """The rows that could be read, in which rewards have a place."""
    read = [row for row in window.rows if not isinstance(row, BadRow)]
    for place, fields, _ in read:
        check_fields(fields, place, layout.style)
    return read


def _refused(row: ScorableRow, error: AssayError) -> BadRow:
    raw = json.dumps(row[1], ensure_ascii=False)
    return BadRow(row[0], error.what, error.mend or "mend the row", raw)
