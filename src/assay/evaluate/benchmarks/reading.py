"""From a source to items: every row becomes one or is a bad row with its place."""

from __future__ import annotations

import hashlib
from typing import Literal

from assay.data.columns import Columns
from assay.data.rows import BadRow, Row, bad_row
from assay.data.rows.reading import read_rows
from assay.data.sources import DataSource
from assay.errors import ConfigError, DataError
from assay.evaluate.account import ReadRows, read_all, refusal
from assay.evaluate.benchmarks.benchmark import Benchmark, Item, benchmarks


def read_items(
    benchmark: Benchmark,
    source: DataSource,
    *,
    limit: int | None = None,
    on_bad_row: Literal["error", "skip"] = "error",
) -> ReadRows[Item]:
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
    first: list[Row] = []

    def read(row: Row) -> Item | BadRow:
        columns.look_for(row.fields, row.source)
        if not first:
            first.append(row)
        try:
            return benchmark.read(columns.apply(row.fields), row.source)
        except DataError as error:
            return bad_row(row.source, columns.explained(error, row.fields), row.raw)

    found = read_all(read_rows(source, digest.update), read, limit=limit)
    columns.check_seen()
    found.fingerprint = digest.hexdigest()
    if found.bad_rows and (on_bad_row == "error" or not found.good):
        listed = refusal(found.bad_rows)
        what = f"{listed.what} (rows of {benchmark.title}: {benchmark.reads})"
        others = [] if found.good or not first else _that_read(first[0])
        if others:
            mend = f"give --benchmark {' or '.join(others)}, which reads them"
        else:
            mend = "mend them, or give --on-bad-row skip"
        raise DataError(what, where=listed.where, mend=mend)
    return found


def _that_read(row: Row) -> list[str]:
    """The benchmarks that a row may be of."""
    found = []
    for known in benchmarks():
        try:
            known.read(row.fields, row.source)
        except DataError:
            continue
        found.append(known.name)
    return found
