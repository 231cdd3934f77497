"""From sources to groups: what is kept, what is left out, and a number for everything."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Literal

from assay.data.formats import Format, VerbatimText
from assay.data.grouping import compare_rated, group_by_prompt
from assay.data.records import Group, Source
from assay.data.rows import BadRow
from assay.data.scorable import ScorableRow, SourceReader
from assay.data.sources import DataSource, locate
from assay.errors import DataError
from assay.files import text_output

IDENTICAL = "identical answers"
BAD_ROW = "bad row"
NO_COMPARISON = "no comparison"

_SHOWN = 20


@dataclass(frozen=True, slots=True)
class SkippedRow:
    """A good row that is left out, and why."""

    source: Source
    reason: str


@dataclass(slots=True)
class LoadedData:
    """The groups of some sources, and an account of every row that is not among them.

    `formats` and `fingerprints` (SHA-256 of the bytes read) stand in the order of the sources.
    """

    groups: list[Group] = field(default_factory=list)
    skipped: list[SkippedRow] = field(default_factory=list)
    bad_rows: list[BadRow] = field(default_factory=list)
    num_rows: int = 0
    formats: list[str] = field(default_factory=list)
    fingerprints: list[str] = field(default_factory=list)

    def counts(self) -> dict[str, int]:
        """How many rows were left out, by reason."""
        counts = Counter(row.reason for row in self.skipped)
        if self.bad_rows:
            counts[BAD_ROW] = len(self.bad_rows)
        return dict(counts)

    def extend(self, other: LoadedData) -> None:
        """Add the data of further sources."""
        self.groups += other.groups
        self.skipped += other.skipped
        self.bad_rows += other.bad_rows
        self.num_rows += other.num_rows
        self.formats += other.formats
        self.fingerprints += other.fingerprints


def load_groups(
    sources: Sequence[DataSource],
    *,
    on_bad_row: Literal["error", "skip"] = "error",
    group_by: Literal["prompt", "row"] = "prompt",
    need_comparisons: bool = True,
    limit: int | None = None,
) -> LoadedData:
    """Read all sources in one pass.

    Args:
        sources: what to read, in order.
        on_bad_row: `error` lists the bad rows of all sources in one error, `skip` counts them.
        group_by: `prompt` makes one group of all rows with a prompt, `row` one of each row. Rows
            that hold one rated response each are merged by prompt within their source anyway.
        need_comparisons: rows without a comparison or with identical answers are left out, rated
            responses are compared, and a source without comparisons is an error.
        limit: read so many rows of each source.

    Raises:
        DataError: a source cannot be read, holds bad rows, or has no usable row.
    """
    for source in sources:
        locate(source)
    loaded = [_load(source, need_comparisons, limit) for source in sources]
    data = LoadedData()
    for part in loaded:
        data.extend(part)
    if data.bad_rows and on_bad_row == "error":
        raise bad_rows_error(data.bad_rows)
    for source, part in zip(sources, loaded, strict=True):
        _check_not_empty(source, part)
    data.groups = grouped(data.groups, group_by)
    return data


def write_bad_rows(path: str | Path, bad_rows: Iterable[BadRow]) -> None:
    """Write bad rows aside as JSON lines `{source, what, mend, raw}`, all of them or no file.

    Raises:
        OutputError: the file cannot be written.
    """
    with text_output(Path(path)) as file:
        for row in bad_rows:
            record = {"source": str(row.source), "what": row.what, "mend": row.mend, "raw": row.raw}
            file.write(json.dumps(record, ensure_ascii=False) + "\n")


def _load(source: DataSource, need_comparisons: bool, limit: int | None) -> LoadedData:
    """The rows of one source, each a group of its own."""
    reader = SourceReader(source, need_comparisons=need_comparisons)
    data = LoadedData()
    for row in islice(reader, limit):
        data.num_rows += 1
        found = sorted_row(row, reader.format, need_comparisons=need_comparisons)
        if isinstance(found, BadRow):
            data.bad_rows.append(found)
        elif isinstance(found, SkippedRow):
            data.skipped.append(found)
        else:
            data.groups.append(found)
    if need_comparisons:
        data.groups, skipped = compare_where_rated(data.groups, reader.format, source.label)
        data.skipped += skipped
    data.formats.append(reader.format.name if reader.format else source.format)
    data.fingerprints.append(reader.fingerprint)
    return data


def sorted_row(
    row: ScorableRow | BadRow, known: Format | None, *, need_comparisons: bool = True
) -> Group | SkippedRow | BadRow:
    """Where a row belongs: among the groups, the rows left out, or the bad ones.

    Raises:
        DataError: it is a verbatim text.
    """
    if isinstance(row, BadRow):
        return row
    place, _, group = row
    if isinstance(group, VerbatimText):
        raise DataError(
            "holds verbatim texts, which have no prompt and no responses",
            where=place.file,
            mend="give it to `assay score`",
        )
    reason = _reason_to_skip(group, known) if need_comparisons else None
    return group if reason is None else SkippedRow(place, reason)


def compare_where_rated(
    groups: list[Group], known: Format | None, label: str | None
) -> tuple[list[Group], list[SkippedRow]]:
    """The groups of one source, compared where its rows hold rated responses; who is in none."""
    if known is None or not known.rated:
        return groups, []
    compared, skipped = compare_rated(groups, label or known.labels[0])
    return compared, [SkippedRow(place, reason) for place, reason in skipped]


def grouped(groups: list[Group], group_by: Literal["prompt", "row"]) -> list[Group]:
    """One group of all rows with a prompt, or each row its own, with an id of its own."""
    return group_by_prompt(groups) if group_by == "prompt" else _with_unique_ids(groups)


def _reason_to_skip(group: Group, known: Format | None) -> str | None:
    if group.left_out is not None or (known is not None and known.rated):
        return group.left_out
    if not group.comparisons:
        return NO_COMPARISON
    if all(
        group.responses[comparison.a].messages == group.responses[comparison.b].messages
        for comparison in group.comparisons
    ):
        return IDENTICAL
    return None


def bad_rows_error(bad_rows: Sequence[BadRow]) -> DataError:
    """One error that lists bad rows with their places and mends."""
    shown = [str(row) for row in bad_rows[:_SHOWN]]
    if len(bad_rows) > _SHOWN:
        shown.append(f"and {len(bad_rows) - _SHOWN} more")
    count = "1 bad row" if len(bad_rows) == 1 else f"{len(bad_rows)} bad rows"
    return DataError(
        f"{count}: {' | '.join(shown)}",
        mend="mend them, or set on_bad_row to skip",
    )


def _check_not_empty(source: DataSource, data: LoadedData) -> None:
    if not data.groups:
        counts = ", ".join(f"{reason}: {count}" for reason, count in data.counts().items())
        raise DataError(
            f"no usable row is left of {data.num_rows} ({counts})",
            where=source.path,
            mend="mend these rows or leave the file out",
        )


def _with_unique_ids(groups: Iterable[Group]) -> list[Group]:
    """Two files can hold a prompt on the same line; the later group's id then gets a count."""
    seen: Counter[str] = Counter()
    unique = []
    for group in groups:
        seen[group.id] += 1
        count = seen[group.id]
        unique.append(group if count == 1 else replace(group, id=f"{group.id}.{count}"))
    return unique
