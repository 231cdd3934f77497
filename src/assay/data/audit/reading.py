"""Reading what is audited: rows that would be trained on, test rows, and texts to keep apart."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Literal

from assay.data.audit.collecting import lengths_of, record_lengths
from assay.data.audit.leaks import Benchmark, ExactPrompts
from assay.data.audit.lengths import Lengths, Measure
from assay.data.audit.report import FileAccount
from assay.data.audit.texts import asked
from assay.data.formats import VerbatimText
from assay.data.grouping import compare_rated
from assay.data.loading import bad_rows_error
from assay.data.prompts import normalised
from assay.data.records import Group
from assay.data.rows import BadRow
from assay.data.scorable import SourceReader
from assay.data.sources import DataSource, locate
from assay.errors import DataError

BATCH = 256
"""Rows that are measured together, which is what tokenizers are fast with."""

TEXT_SUFFIX = ".txt"


def read_preferences(
    source: DataSource,
    role: Literal["train", "test"],
    add: Callable[[Sequence[Group], str], object],
    bad_rows: list[BadRow],
) -> FileAccount:
    """Give all rows of a source with their format to `add`, in batches; bad rows are put aside.

    Rows that hold one rated response each are compared first, which takes all of them at once.

    Raises:
        DataError: the source cannot be read, or its rows prefer nothing to anything.
    """
    reader = SourceReader(source, need_comparisons=True)
    rows = comparisons = bad = 0
    rated: list[Group] = []
    items = iter(reader)
    while batch := list(islice(items, BATCH)):
        groups = []
        for item in batch:
            rows += 1
            if isinstance(item, BadRow):
                bad += 1
                # The raw text may be large, and the cleaned file is written from the source.
                bad_rows.append(BadRow(item.source, item.what, item.mend, ""))
            elif isinstance(item[2], Group):
                groups.append(item[2])
                comparisons += len(item[2].comparisons)
        if reader.format is not None and reader.format.rated:
            rated += groups
        else:
            add(groups, reader.format.name if reader.format else source.format)
    name = reader.format.name if reader.format else source.format
    if reader.format is not None and rated:
        merged, _ = compare_rated(rated, source.label or reader.format.labels[0])
        comparisons = sum(len(group.comparisons) for group in merged)
        add(merged, name)
    return FileAccount(source.path, role, name, rows, comparisons, bad, reader.fingerprint)


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
        for group, (prompt, *answers) in zip(groups, lengths_of(groups, measure), strict=True):
            entry = lengths.setdefault(group.source.file, Lengths())
            record_lengths(entry, group, prompt, answers)
            prompts.add(normalised(asked(group.prompt)), str(group.source))

    return read_preferences(source, "test", add, bad_rows)


def read_benchmark(source: DataSource, texts: Benchmark) -> FileAccount:
    """The texts of a file that training must not hold: lines of a `.txt` file, else prompts.

    Raises:
        DataError: the file cannot be read, or holds bad rows.
    """
    if Path(source.path).suffix.lower() == TEXT_SUFFIX:
        return _read_lines(source.path, texts)
    reader = SourceReader(source)
    bad = []
    rows = comparisons = 0
    for item in reader:
        rows += 1
        if isinstance(item, BadRow):
            bad.append(item)
            continue
        place, _, scorable = item
        if isinstance(scorable, VerbatimText):
            texts.add(scorable.text, str(place))
        else:
            comparisons += len(scorable.comparisons)
            texts.add(asked(scorable.prompt), str(place))
    if bad:
        raise bad_rows_error(bad)
    name = reader.format.name if reader.format else source.format
    return FileAccount(source.path, "against", name, rows, comparisons, 0, reader.fingerprint)


def check_places(train: Sequence[DataSource], others: Sequence[DataSource]) -> None:
    """See, before anything is read, that all sources are there and no training file comes twice.

    Raises:
        DataError: one is not there, or comes twice.
    """
    seen: set[str] = set()
    for source in train:
        if source.path in seen:
            raise DataError("is given twice", where=source.path, mend="name each file once")
        seen.add(source.path)
    for source in [*train, *others]:
        if Path(source.path).suffix.lower() != TEXT_SUFFIX or source in train:
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
