"""From sources to a file of another schema, with an account of every comparison."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from assay.data.loading import (
    SkippedRow,
    SortedSource,
    bad_rows_beside,
    bad_rows_error,
    bad_rows_said,
    write_bad_rows,
)
from assay.data.records import Group
from assay.data.rows import BadRow
from assay.data.sources import DataSource, check_not_read, locate_all
from assay.data.writers.account import Account
from assay.data.writers.dataset_info import DatasetInfo
from assay.data.writers.llamafactory import NAME as LLAMAFACTORY
from assay.data.writers.output import row_file
from assay.data.writers.registry import Detail, LeftOut, Writer, unused_answers
from assay.errors import ConfigError, DataError
from assay.files import check_output
from assay.notices import warn

_SUFFIXES = (".jsonl", ".ndjson", ".json")


@dataclass(frozen=True, slots=True)
class ConvertOptions:
    """How rows are read and the output is written; `limit` is the rows read of each source."""

    on_bad_row: Literal["error", "skip"] = "error"
    limit: int | None = None
    overwrite: bool = False


def convert(
    sources: Sequence[DataSource], writer: Writer, output: Path, options: ConvertOptions
) -> Account:
    """Write all comparisons of the sources in another schema, each row by itself and in order.

    The file is written whole or not at all, as a list where its name ends in `.json` and as JSON
    lines otherwise.

    Raises:
        ConfigError: the output is of an unknown kind.
        DataError: a source cannot be read, holds bad rows, or nothing of it can be written.
        OutputError: the output is there already, is an input, or cannot be written.
    """
    check_not_read(output, sources)
    check_output(output, overwrite=options.overwrite)
    check_not_read(bad_rows_beside(output), sources)
    if output.suffix.lower() not in _SUFFIXES:
        raise ConfigError(
            f"'{output.suffix}' files are not written",
            where=output,
            mend=f"name a file ending in {' or '.join(_SUFFIXES)}",
        )
    about = None
    if writer.name == LLAMAFACTORY:
        about = DatasetInfo.open(output, overwrite=options.overwrite)
    account = Account()
    with row_file(output) as write:
        for group in groups_of(sources, account, options, need_comparisons=not writer.whole_groups):
            written = writer.write(group)
            for row in written.rows:
                write(row)
                account.fields.update(row.keys())
            account.rows += len(written.rows)
            account.comparisons += len(group.comparisons) - written.left_out.total()
            account.leave_out(written.left_out, group.source)
            account.lose(written.lost, group.source)
            if not writer.whole_groups and (unused := unused_answers(group)):
                account.lose({Detail.UNUSED: unused}, group.source)
        check_written(account, sources, writer.name)
    if about is not None:
        about.add(output, account.fields)
    put_bad_rows_aside(account, output, options)
    _warn_of_gaps(account)
    return account


def groups_of(
    sources: Sequence[DataSource],
    account: Account,
    options: ConvertOptions,
    *,
    need_comparisons: bool = True,
) -> Iterator[Group]:
    """The groups of some sources in order, one a row; rated rows are compared within a source.

    Raises:
        DataError: a source cannot be read; and at the end, where bad rows are errors, all of them.
    """
    locate_all(sources)
    for source in sources:
        rows = SortedSource(
            source, need_comparisons=need_comparisons, usable_only=False, limit=options.limit
        )
        for row in rows:
            if isinstance(row, BadRow):
                account.bad_rows.append(row)
            elif isinstance(row, SkippedRow):
                account.skip(row.reason, row.source)
            elif need_comparisons and not row.comparisons:
                account.skip(LeftOut.NONE, row.source)
            else:
                yield row
        account.rows_read += rows.num_rows
    if account.bad_rows and options.on_bad_row == "error":
        raise bad_rows_error(account.bad_rows)


def check_written(account: Account, sources: Sequence[DataSource], target: str) -> None:
    """See that something is left to write.

    Raises:
        DataError: nothing is.
    """
    if account.rows == 0:
        raise DataError(
            f"nothing of {account.rows_read} rows can be written as {target} ({account.reasons})",
            where=", ".join(source.path for source in sources),
            mend="choose another target, or mend these rows",
        )


def check_dropped(account: Account, sources: Sequence[DataSource], max_dropped: float) -> None:
    """Refuse an output of whose comparisons too many would be missing.

    Args:
        account: of all that was read.
        sources: for the message.
        max_dropped: the share that may be missing, from 0 to 1; a row that is bad or in no
            comparison counts as one.

    Raises:
        DataError: more are.
    """
    dropped = (account.left_out + account.skipped).total() + len(account.bad_rows)
    everything = account.comparisons + dropped
    if dropped > max_dropped * everything:
        raise DataError(
            f"{dropped} of {everything} comparisons would be left out ({dropped / everything:.1%}, "
            f"more than --max-dropped {max_dropped:.1%}): {account.reasons}",
            where=", ".join(source.path for source in sources),
            mend="look at the rows, change --seq-length or --template, or raise --max-dropped",
        )


def put_bad_rows_aside(account: Account, output: Path, options: ConvertOptions) -> None:
    """Write bad rows to `OUTPUT.bad.jsonl` and say so; remove those of an output overwritten.

    Raises:
        OutputError: they cannot be written.
    """
    aside = bad_rows_beside(output)
    if account.bad_rows:
        write_bad_rows(aside, account.bad_rows)
        warn(bad_rows_said(len(account.bad_rows), f"written to {aside}"))
    elif options.overwrite:
        aside.unlink(missing_ok=True)


def _warn_of_gaps(account: Account) -> None:
    """Loaders that make a table of the rows fill such gaps with null."""
    for name in ("margin", "tools", "system", "chat_template_kwargs"):
        count = account.fields[name]
        if 0 < count < account.rows:
            warn(
                f"{count} of {account.rows} rows have '{name}'; trainers that load the file as a "
                "table read null in the others"
            )
