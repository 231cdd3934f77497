"""Reading what is audited: rows that would be trained on, test rows, and texts to keep apart."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import chain, islice
from pathlib import Path
from typing import Literal

from assay.data.audit.benchmarks import benchmark_texts
from assay.data.audit.collecting import record_lengths
from assay.data.audit.findings import SHOWN
from assay.data.audit.leaks import Benchmark, ExactPrompts
from assay.data.audit.lengths import Lengths, Measure
from assay.data.audit.report import FileAccount, Flaw
from assay.data.columns import Columns
from assay.data.formats import get_format
from assay.data.loading import NO_COMPARISON, SkippedRow, SortedSource, bad_rows_error
from assay.data.prompts import asked, normalised
from assay.data.records import Group
from assay.data.rows import BadRow, read_rows
from assay.data.sources import DataSource, locate, locate_all
from assay.errors import DataError

BATCH = 256
"""Rows that are measured together, which is what tokenizers are fast with."""


def read_preferences(
    source: DataSource,
    role: Literal["train", "test"],
    add: Callable[[Sequence[Group], str], object],
    bad_rows: list[BadRow],
    rows_of_files: Counter[str],
) -> FileAccount:
    """Give all rows of a source with their format to `add`, in batches; bad rows are put aside.

    Rows without a comparison are counted and not given. `rows_of_files` counts the rows of each
    file, where a group that is made of several is as many as it has answers.

    Raises:
        DataError: the source cannot be read, or its rows prefer nothing to anything.
    """
    rows = SortedSource(source, usable_only=False)
    left_out: Counter[str] = Counter()
    comparisons = bad = 0
    waiting = iter(rows)
    while batch := list(islice(waiting, BATCH)):
        formats = rows.reader.formats
        by_format: dict[str, list[Group]] = {}
        for row in batch:
            if isinstance(row, Group) and row.comparisons:
                name = formats[row.source.file]
                by_format.setdefault(name, []).append(row)
                comparisons += len(row.comparisons)
                rated = get_format(name).rated
                rows_of_files[row.source.file] += len(row.responses) if rated else 1
                continue
            rows_of_files[row.source.file] += 1
            if isinstance(row, BadRow):
                bad += 1
                # The raw text may be large, and the cleaned file is written from the source.
                bad_rows.append(replace(row, raw=""))
            else:
                left_out[row.reason if isinstance(row, SkippedRow) else NO_COMPARISON] += 1
        for name, same in by_format.items():
            add(same, name)
    return FileAccount(
        source.path,
        role,
        rows.reader.format,
        rows.num_rows,
        comparisons,
        bad,
        rows.reader.fingerprint,
        dict(left_out),
    )


def read_test(
    source: DataSource,
    measure: Measure,
    lengths: dict[str, Lengths],
    prompts: ExactPrompts,
    bad_rows: list[BadRow],
) -> FileAccount:
    """Lengths and prompts of a test file.

    Raises:
        DataError: as `read_preferences`.
    """

    def add(groups: Sequence[Group], format: str) -> None:
        for group, _ in record_lengths(groups, measure, lengths):
            prompts.add(normalised(asked(group.prompt)), str(group.source))

    return read_preferences(source, "test", add, bad_rows, Counter())


def flaws_of(bad_rows: Sequence[BadRow]) -> list[Flaw]:
    """Why rows are bad: the most frequent flaws, each with the place of the first such row."""
    counts: Counter[tuple[str, str]] = Counter()
    first: dict[tuple[str, str], str] = {}
    for row in bad_rows:
        counts[row.what, row.mend] += 1
        first.setdefault((row.what, row.mend), str(row.source))
    return [
        Flaw(*flaw, count=count, first=first[flaw]) for flaw, count in counts.most_common(SHOWN)
    ]


def read_benchmark(source: DataSource, texts: Benchmark) -> FileAccount:
    """The texts of a file that training must not hold: lines of a `.txt` file, else what rows ask.

    Raises:
        DataError: the file cannot be read, holds bad rows, or rows that ask nothing.
    """
    if is_lines(source):
        return _read_lines(source.path, texts)
    columns = Columns(source.columns or {})
    data = hashlib.sha256()
    bad = []
    where_found: dict[str, None] = {}
    rows = 0
    for row in read_rows(source, data.update):
        rows += 1
        if isinstance(row, BadRow):
            bad.append(row)
            continue
        found = benchmark_texts(columns.apply(row.fields), row.source)
        where_found |= dict.fromkeys(found)
        for text in chain.from_iterable(found.values()):
            texts.add(text, str(row.source))
    if bad:
        raise DataError(bad_rows_error(bad).what, mend="mend them")
    return FileAccount(source.path, "against", ", ".join(where_found), rows, 0, 0, data.hexdigest())


def is_lines(source: DataSource) -> bool:
    """Whether it is a file of texts, a line each, and not of rows."""
    return Path(source.path).suffix.lower() == ".txt"


def check_places(train: Sequence[DataSource], others: Sequence[DataSource]) -> None:
    """See, before anything is read, that all sources are there and no training file comes twice.

    Raises:
        DataError: one is not there, or comes twice.
    """
    locate_all(train)
    for source in others:
        if not is_lines(source):
            locate(source)
        elif not Path(source.path).is_file():
            raise DataError("no such file", where=source.path, mend="check the path")


def _read_lines(name: str, texts: Benchmark) -> FileAccount:
    data = hashlib.sha256()
    rows = 0
    for number, line in enumerate(_lines(name, data.update), start=1):
        if line:
            rows += 1
            texts.add(line, f"{name}:{number}")
    return FileAccount(name, "against", "text lines", rows, 0, 0, data.hexdigest())


def _lines(name: str, on_bytes: Callable[[bytes], object]) -> Iterator[str]:
    with Path(name).open("rb") as file:
        for number, line in enumerate(file, start=1):
            on_bytes(line)
            try:
                yield line.decode("utf-8-sig" if number == 1 else "utf-8").strip()
            except UnicodeDecodeError:
                where = f"{name}:{number}"
                raise DataError("is not UTF-8", where=where, mend="save as UTF-8") from None
