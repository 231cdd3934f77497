"""From a source to items: every row becomes one or is a bad row with its place."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import Literal

from assay.data.columns import Columns
from assay.data.loading import bad_rows_error
from assay.data.rows import BadRow, bad_row
from assay.data.rows.reading import read_rows
from assay.data.sources import DataSource
from assay.errors import ConfigError, DataError
from assay.evaluate.benchmarks.benchmark import Benchmark, Item


@dataclass(slots=True)
class ReadItems:
    """The items of a source and its bad rows: together, all rows that were read.

    `is_partial` says that a limit left rows unread; `fingerprint` is of the bytes read.
    """

    items: list[Item] = field(default_factory=list)
    bad_rows: list[BadRow] = field(default_factory=list)
    num_rows: int = 0
    is_partial: bool = False
    fingerprint: str = ""


def read_items(
    benchmark: Benchmark,
    source: DataSource,
    *,
    limit: int | None = None,
    on_bad_row: Literal["error", "skip"] = "error",
) -> ReadItems:
    """Read the rows of a benchmark.

    Raises:
        ConfigError: the source names a format or a label, which the benchmark decides.
        DataError: the source cannot be read, holds bad rows, or no row of the benchmark.
    """
    if source.format != "auto" or source.label is not None:
        flag = "--format" if source.format != "auto" else "--label"
        raise ConfigError(
            f"the benchmark {benchmark.name} reads its rows its own way", mend=f"leave {flag} out"
        )
    columns = Columns(source.columns or {})
    digest = hashlib.sha256()
    found = ReadItems()
    for row in read_rows(source, digest.update):
        if found.num_rows == limit:
            found.is_partial = True
            break
        found.num_rows += 1
        if isinstance(row, BadRow):
            found.bad_rows.append(row)
            continue
        columns.look_for(row.fields, row.source)
        try:
            found.items.append(benchmark.read(columns.apply(row.fields), row.source))
        except DataError as error:
            flaw = columns.explained(error, row.fields)
            found.bad_rows.append(bad_row(row.source, flaw, row.raw))
    columns.check_seen()
    found.fingerprint = digest.hexdigest()
    if found.bad_rows and (on_bad_row == "error" or not found.items):
        listed = bad_rows_error(found.bad_rows)
        what = f"{listed.what} (rows of {benchmark.title}: {benchmark.reads})"
        raise DataError(what, mend="mend them, or give --on-bad-row skip")
    return found
