"""What people at a terminal see: tables and their cells, and how far a command is."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table


def console(columns: int) -> Console:
    """As wide as the terminal or `COLUMNS`; into a file or a pipe, so many columns."""
    from rich.console import Console

    known = Console()
    if known.is_terminal or os.environ.get("COLUMNS", "").isdigit():
        return known
    return Console(width=columns)


def headed(texts: Iterable[str], numbers: Iterable[str] = ()) -> Table:
    """A table with the names of its columns: those of texts, then those of numbers."""
    from rich.table import Table

    table = Table(show_header=True, header_style="bold")
    for name in texts:
        table.add_column(name)
    for name in numbers:
        table.add_column(name, justify="right")
    return table


def between(ends: Sequence[float] | None, form: str = ".3f") -> str:
    """An interval as a cell of a table."""
    return "-" if ends is None else f"{ends[0]:{form}} to {ends[1]:{form}}"


@contextmanager
def counting(what: str, total: int) -> Iterator[Callable[[int], None]]:
    """On a terminal, a bar on stderr, which is told each time how many more are done."""
    from rich.console import Console
    from rich.progress import Progress

    known = Console(stderr=True)
    with Progress(console=known, disable=not known.is_terminal) as bar:
        task = bar.add_task(what, total=total)
        yield lambda done: bar.advance(task, done)
