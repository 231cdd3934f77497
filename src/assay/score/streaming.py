"""Rows in, scored rows out, window by window; nothing is kept."""

from __future__ import annotations

from collections.abc import Callable

from assay.data.loading import bad_rows_error
from assay.data.rows import BadRow
from assay.data.scorable import SourceReader
from assay.data.sources import DataSource
from assay.errors import DataError
from assay.score.files import ScoreOptions
from assay.score.lines import Layout
from assay.score.rewarder import Rewarder
from assay.score.watching import Watch
from assay.score.window import ScoredWindow, read_window, score_window, unread_windows


def score_stream(
    rewarder: Rewarder,
    source: DataSource,
    options: ScoreOptions,
    write: Callable[[ScoredWindow], object],
    watch: Watch,
) -> None:
    """Score a source and hand each window on as soon as it is done.

    Raises:
        DataError: bad rows and `on_bad_row` is `error`: those of the first window that has any,
            of which no row was handed on; or there is no row to score.
    """
    rewarder.check_length(options.max_length)
    layout = Layout(options.style, options.transform, rewarder.about)
    reader = SourceReader(source)
    done = num_lines = 0
    watch.begin(None, 0)
    for number, rows in unread_windows(reader, options.window, options.limit):
        if number not in options.shard:
            continue
        window = read_window(reader, number, rows)
        bad = [row for row in window.rows if isinstance(row, BadRow)]
        if bad and options.on_bad_row == "error":
            raise bad_rows_error(bad)
        scored = score_window(
            rewarder,
            window,
            layout,
            options.max_length,
            watch.within(done, len(rows)),
        )
        if scored.bad_rows and options.on_bad_row == "error":
            raise bad_rows_error(scored.bad_rows)
        write(scored)
        done += len(rows)
        num_lines += len(scored.lines)
        watch.at(done)
    if not num_lines:
        raise DataError("holds no row to score", where=source.path, mend="give it rows")
