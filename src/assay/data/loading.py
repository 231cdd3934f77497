"""From sources to groups: what is kept, what is left out, and a number for everything."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from itertools import groupby, islice
from pathlib import Path
from typing import Literal

from assay.data.formats import VerbatimText, get_format
from assay.data.grouping import compare_rated, group_by_prompt
from assay.data.records import Group, Source
from assay.data.rows import BadRow
from assay.data.scorable import ScorableRow, SourceReader
from assay.data.sources import DataSource, locate_all
from assay.errors import DataError
from assay.files import text_output
from assay.notices import counted

IDENTICAL = "identical answers"
BAD_ROW = "bad row"
NO_COMPARISON = "no comparison"

_SHOWN = 20

Counts = Mapping[str, int]


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
        for part in fields(self):
            setattr(self, part.name, getattr(self, part.name) + getattr(other, part.name))


class SortedSource:
    """One pass over a source, every row in its place: a group, a row left out, or a bad row.

    Rated rows are merged and compared when all are read: their groups come last. Memory holds one
    row, or the rated ones. What `reader` and `num_rows` say is final when all is read.

    Args:
        source: what to read.
        need_comparisons: a format without comparisons is an error.
        usable_only: leave out rows that training has no use for, too: those without a comparison
            and those with identical answers.
        limit: read so many rows.

    Raises:
        DataError: as `SourceReader`; while iterating, for verbatim texts too.
    """

    def __init__(
        self,
        source: DataSource,
        *,
        need_comparisons: bool = True,
        usable_only: bool = True,
        limit: int | None = None,
    ) -> None:
        self._source = source
        self._usable_only = usable_only
        self._limit = limit
        self.reader = SourceReader(source, need_comparisons=need_comparisons)
        self.num_rows = 0

    def __iter__(self) -> Iterator[Group | SkippedRow | BadRow]:
        rated: list[Group] = []
        for row in islice(self.reader, self._limit):
            self.num_rows += 1
            found = sorted_row(row, self.reader, usable_only=self._usable_only)
            if isinstance(found, Group) and self.reader.format_of(found.source.file).rated:
                rated.append(found)
            else:
                yield found
        groups, skipped = compare_where_rated(rated, self.reader.formats, self._source.label)
        yield from skipped
        yield from groups


def load_groups(
    sources: Sequence[DataSource],
    *,
    on_bad_row: Literal["error", "skip"] = "error",
    group_by: Literal["prompt", "row"] = "prompt",
    limit: int | None = None,
) -> LoadedData:
    """Read all sources in one pass.

    Rows without a comparison or with identical answers are left out.

    Args:
        sources: what to read, in order.
        on_bad_row: `error` lists the bad rows of all sources in one error, `skip` counts them.
        group_by: `prompt` makes one group of all rows with a prompt, `row` one of each row. Rows
            that hold one rated response each are merged by prompt within their source anyway.
        limit: read so many rows of each source.

    Raises:
        DataError: a source cannot be read, holds bad rows, or has no usable row.
    """
    locate_all(sources)
    loaded = [load_source(SortedSource(source, limit=limit)) for source in sources]
    data = LoadedData()
    for part in loaded:
        data.extend(part)
    if data.bad_rows and on_bad_row == "error":
        raise bad_rows_error(data.bad_rows)
    for source, part in zip(sources, loaded, strict=True):
        check_not_empty(source, not part.groups, part.num_rows, part.counts())
    data.groups = grouped(data.groups, group_by)
    return data


def write_bad_rows(path: str | Path, bad_rows: Iterable[BadRow]) -> None:
    """Write bad rows aside as JSON lines `{source, what, mend, raw}`, all of them or no file.

    Raises:
        OutputError: the file cannot be written.
    """
    with text_output(Path(path)) as file:
        for row in bad_rows:
            file.write(json.dumps(row.as_dict(), ensure_ascii=False) + "\n")


def bad_rows_beside(output: Path) -> Path:
    """Where the bad rows of what is written to a file go."""
    return output.with_name(f"{output.name}.bad.jsonl")


def bad_rows_said(number: int, fate: str) -> str:
    """That so many bad rows were, say, `written to FILE`."""
    return f"{counted(number, 'bad row')} {'was' if number == 1 else 'were'} {fate}"


def load_source(rows: SortedSource) -> LoadedData:
    """All rows of a source, in order; each, or the rated ones with a prompt, a group.

    Raises:
        DataError: as `SortedSource`.
    """
    data = LoadedData()
    for row in rows:
        if isinstance(row, BadRow):
            data.bad_rows.append(row)
        elif isinstance(row, SkippedRow):
            data.skipped.append(row)
        else:
            data.groups.append(row)
    files = {file: number for number, file in enumerate(rows.reader.formats)}
    data.groups.sort(key=lambda group: (files[group.source.file], group.source.line))
    data.num_rows = rows.num_rows
    data.formats.append(rows.reader.format)
    data.fingerprints.append(rows.reader.fingerprint)
    return data


def sorted_row(
    row: ScorableRow | BadRow, reader: SourceReader, *, usable_only: bool = True
) -> Group | SkippedRow | BadRow:
    """Where a row of a reader belongs: among the groups, the rows left out, or the bad ones.

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
    reason = group.left_out
    if reason is None and usable_only and not reader.format_of(place.file).rated:
        reason = _reason_to_skip(group)
    return group if reason is None else SkippedRow(place, reason)


def compare_where_rated(
    groups: Sequence[Group], formats: Mapping[str, str], label: str | None
) -> tuple[list[Group], list[SkippedRow]]:
    """The groups of one source, compared where their rows hold rated responses; who is in none.

    Ratings of two formats are on two scales: they are compared format by format.

    Args:
        groups: one of each row, in order; a group that is made of several stands at the first.
        formats: by file, the name of the format of its rows.
        label: the rating that decides; None takes the first of each format.
    """
    if not any(get_format(name).rated for name in set(formats.values())):
        return list(groups), []
    place_of = {group.source: place for place, group in enumerate(groups)}
    kept: list[Group] = []
    rated: dict[str, list[Group]] = {}
    for group in groups:
        name = formats[group.source.file]
        (rated.setdefault(name, []) if get_format(name).rated else kept).append(group)
    skipped: list[SkippedRow] = []
    for name, rows in rated.items():
        compared, places = compare_rated(rows, label or get_format(name).labels[0])
        kept += compared
        skipped += [SkippedRow(place, reason) for place, reason in places]
    kept.sort(key=lambda group: place_of[group.source])
    skipped.sort(key=lambda row: place_of[row.source])
    return kept, skipped


def grouped(groups: list[Group], group_by: Literal["prompt", "row"]) -> list[Group]:
    """One group of all rows with a prompt, or each row its own, with an id of its own."""
    return group_by_prompt(groups) if group_by == "prompt" else _with_unique_ids(groups)


def _reason_to_skip(group: Group) -> str | None:
    if not group.comparisons:
        return NO_COMPARISON
    if all(
        group.responses[comparison.a].messages == group.responses[comparison.b].messages
        for comparison in group.comparisons
    ):
        return IDENTICAL
    return None


def bad_rows_error(bad_rows: Sequence[BadRow]) -> DataError:
    """One error that lists bad rows with their places and mends; of neighbours alike once."""
    shown = [
        str(DataError(what, where=", ".join(str(row.source) for row in alike), mend=mend))
        for (what, mend), alike in groupby(bad_rows[:_SHOWN], lambda row: (row.what, row.mend))
    ]
    if len(bad_rows) > _SHOWN:
        shown.append(f"and {len(bad_rows) - _SHOWN} more")
    return DataError(
        f"{counted(len(bad_rows), 'bad row')}: {' | '.join(shown)}",
        mend="mend them, or set data.on_bad_row to skip",
    )


def check_not_empty(source: DataSource, is_empty: bool, num_rows: int, counts: Counts) -> None:
    """See that some row of a source can be used.

    Args:
        source: the source.
        is_empty: whether none can.
        num_rows: its rows.
        counts: how many were left out, by reason.

    Raises:
        DataError: none can.
    """
    if is_empty:
        raise DataError(
            f"no usable row is left of {num_rows} ({told(counts)})",
            where=source.path,
            mend="mend these rows or leave the file out",
        )


def by_count(counts: Counts) -> list[tuple[str, int]]:
    """Reasons and how often each holds: the most frequent first, equal ones by name."""
    return Counter(dict(sorted(counts.items()))).most_common()


def told(counts: Counts) -> str:
    """The same in one line."""
    return ", ".join(f"{reason}: {count}" for reason, count in by_count(counts) if count)


def _with_unique_ids(groups: Iterable[Group]) -> list[Group]:
    """Rows may share an id, as a prompt on the same line of two files; the later adds its place."""
    taken: set[str] = set()

    def fresh(id: str, place: Source) -> str:
        if id in taken:
            return fresh(f"{id}@{place}", place)
        taken.add(id)
        return id

    return [replace(group, id=fresh(group.id, group.source)) for group in groups]
