"""`assay report`: a directory to one page."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from assay.errors import OutputError
from assay.files import check_output, text_output
from assay.pages.escaping import text
from assay.report.found import RESULTS, find
from assay.report.page import GENERATOR, report_page

_MARK = f'<meta name="generator" content="{text(GENERATOR)}">'


@dataclass(frozen=True, slots=True)
class ReportOptions:
    """What `assay report` shows and where; each field is a flag of the command."""

    output: Path | None = None
    probe: Path | None = None
    title: str | None = None
    rows: int = 10
    texts: bool = True


def report_command(run: Path, options: ReportOptions) -> Path:
    """Write the report of a directory; returns where it stands.

    Raises:
        CheckpointError: the directory is no run and no evaluation, or half of one.
        DataError: a file in it is not as it was written.
        OutputError: the page cannot be written, or another file stands in its place.
    """
    directory = run.parent if run.name == RESULTS else run
    output = options.output or directory / "report.html"
    found = find(run, rows=options.rows, probe=options.probe)
    check_output(output, overwrite=True)
    if output.exists() and not _is_report(output):
        raise OutputError(
            "is there, and assay report did not write it",
            where=output,
            mend="name another file with --output",
        )
    page = report_page(found, title=options.title, texts=options.texts)
    with text_output(output) as file:
        file.write(page)
    return output


def _is_report(path: Path) -> bool:
    with path.open("rb") as file:
        return _MARK.encode() in file.read(1000)
