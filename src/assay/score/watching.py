"""How far a job is: a bar on a terminal, now and then a line elsewhere; all of it on stderr."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from assay.notices import notice

_SECONDS = 30.0
"""Between two lines, where there is no terminal."""


class Watch:
    """Is told how far a job is, in rows of the input; says nothing."""

    def begin(self, total: int | None, done: int) -> None:
        """So many rows there are (None: nobody knows), and so many an earlier job has done."""

    def at(self, rows: float) -> None:
        """So many rows are done."""

    def within(self, done: int, size: int) -> Callable[[float], None]:
        """Of so many rows behind those that are done, what is told which share is done, too."""
        return lambda share: self.at(done + share * size)


class _Bar(Watch):
    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._task = progress.add_task("rows", total=None)

    def begin(self, total: int | None, done: int) -> None:
        self._progress.reset(self._task, total=total)
        self._progress.update(self._task, completed=done)

    def at(self, rows: float) -> None:
        self._progress.update(self._task, completed=rows)


class LinesNowAndThen(Watch):
    """Says how far a job is in a line, not more often than every `seconds`."""

    def __init__(self, seconds: float = _SECONDS) -> None:
        self._seconds = seconds
        self._total: int | None = None
        self._before = 0
        self._began = self._said = time.monotonic()

    def begin(self, total: int | None, done: int) -> None:
        """Forget what was; the time runs from now."""
        self._total, self._before = total, done
        self._began = self._said = time.monotonic()

    def at(self, rows: float) -> None:
        """Say it, where it is time to."""
        now = time.monotonic()
        if now - self._said < self._seconds or rows <= self._before:
            return
        self._said = now
        speed = (rows - self._before) / (now - self._began)
        text = f"{rows:,.0f} rows, {speed:,.1f} rows/s"
        if self._total is not None:
            left = timedelta(seconds=round((self._total - rows) / speed))
            text = f"{rows:,.0f} of {self._total:,} rows, {speed:,.1f} rows/s, {left} left"
        notice(text)


@contextmanager
def watching() -> Iterator[Watch]:
    """The watch of a command."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield LinesNowAndThen()
        return
    columns = (
        TextColumn("{task.completed:,.0f} rows"),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f}%"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console) as progress:
        yield _Bar(progress)
