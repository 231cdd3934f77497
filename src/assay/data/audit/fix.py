"""A cleaned file: the rows as they were written, less those that go, and the list of these."""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from assay.data.audit.reading import is_lines
from assay.data.audit.report import Audit, FileAccount, Removal
from assay.data.cells import Cell, literal
from assay.data.formats import get_format
from assay.data.records import Source
from assay.data.rows import BadRow, Row, read_rows
from assay.data.scorable import SourceReader
from assay.data.sources import DataSource, check_not_read
from assay.data.strict_json import JsonObject
from assay.errors import ConfigError, DataError
from assay.files import check_output, text_output

_LINE_BREAK = re.compile(r"\s*[\r\n]\s*")


@dataclass(frozen=True, slots=True)
class Fixed:
    """What was written, and how many rows went for which reason."""

    output: Path
    removed_file: Path
    kept: int
    removed: dict[str, int]


def removed_name(output: Path) -> Path:
    """Where the rows that go are listed: `OUT.removed.jsonl` beside `OUT.jsonl`."""
    return output.with_name(f"{output.stem}.removed.jsonl")


def check_fix(
    output: Path,
    sources: Sequence[DataSource],
    others: Sequence[DataSource] = (),
    *,
    overwrite: bool,
) -> None:
    """Refuse, before anything is read, a cleaned file that cannot be written.

    Args:
        output: the cleaned file.
        sources: what is cleaned.
        others: what is read besides.
        overwrite: replace what is there.

    Raises:
        ConfigError: its name is no `.jsonl`, or a source can be read only once.
        DataError: a source is not there.
        OutputError: it or its list is one of those files, is there already, or is no file.
    """
    if output.suffix != ".jsonl":
        raise ConfigError("the cleaned file is JSON lines", where=output, mend="name it .jsonl")
    for source in sources:
        if source.path == "-":
            raise ConfigError(
                "standard input cannot be read twice, which --fix needs", mend="give a file"
            )
    read = [*sources, *(source for source in others if not is_lines(source))]
    for path in (output, removed_name(output)):
        check_not_read(path, read)
        check_output(path, overwrite=overwrite)


def write_fixed(audit: Audit, sources: Sequence[DataSource], output: Path) -> Fixed:
    """Write the rows of the audited sources that stay, unchanged and in order, and list the rest.

    Lines of JSON lines are written as they stand; rows of a JSON list lose their line breaks, and
    rows of tables become JSON that is read as they were. The list has `{source, reason, detail,
    raw}` a row.

    Raises:
        ConfigError: the sources have different formats, or one whose rows are compared across rows.
        DataError: a source has changed since the audit.
        OutputError: the files cannot be written.
    """
    accounts = [file for file in audit.report.files if file.role == "train"]
    _check_formats(accounts)
    removed: Counter[str] = Counter()
    kept = 0
    aside = removed_name(output)
    with text_output(output) as clean, text_output(aside) as gone:
        for source, account in zip(sources, accounts, strict=True):
            digest = hashlib.sha256()
            reader = SourceReader(replace(source, format=account.format))
            for row in read_rows(source, digest.update):
                removal = _removal(row, audit.removals)
                if removal is None:
                    assert isinstance(row, Row)
                    clean.write(_one_line(row, reader) + "\n")
                    kept += 1
                else:
                    removed[removal.reason] += 1
                    record = {
                        "source": str(row.source),
                        "reason": removal.reason,
                        "detail": removal.detail,
                        "raw": row.raw,
                    }
                    gone.write(json.dumps(record, ensure_ascii=False) + "\n")
            if digest.hexdigest() != account.sha256:
                raise DataError(
                    "has changed since it was audited", where=source.path, mend="run again"
                )
    return Fixed(output, aside, kept, dict(removed.most_common()))


def _check_formats(accounts: Sequence[FileAccount]) -> None:
    formats = {name: account.file for account in accounts for name in account.format.split(", ")}
    if len(formats) > 1:
        files = ", ".join(f"{file} ({name})" for name, file in formats.items())
        raise ConfigError(
            f"rows of several formats cannot stand in one cleaned file: {files}",
            mend="clean each file by itself",
        )
    for account in accounts:
        if get_format(account.format).rated:
            raise ConfigError(
                f"rows of the format '{account.format}' are compared with other rows, so that "
                "no row goes alone",
                where=account.file,
                mend="convert the file to a format with comparisons first",
            )


def _removal(row: Row | BadRow, removals: Mapping[Source, Removal]) -> Removal | None:
    if isinstance(row, BadRow):
        return removals.get(row.source, Removal("bad rows", row.what))
    return removals.get(row.source)


def _one_line(row: Row, reader: SourceReader) -> str:
    """The row as one line of JSON."""
    if any(isinstance(value, Cell) for value in row.fields.values()):
        return json.dumps(_without_cells(row, reader), ensure_ascii=False)
    # JSON text: a break inside a string is always escaped, so these are between.
    return _LINE_BREAK.sub(" ", row.raw)


def _without_cells(row: Row, reader: SourceReader) -> JsonObject:
    """The fields of a table's row, each cell as the text or the value that the format reads."""
    meant = reader.read(row)
    fields: JsonObject = {}
    for name, cell in row.fields.items():
        as_text = replace(row, fields=row.fields | {name: str(cell)})
        fields[name] = str(cell) if reader.read(as_text) == meant else literal(cell)
    return fields
