"""`assay report`: a directory, or a monitor's log, to one page."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from assay.errors import CheckpointError, ConfigError, OutputError
from assay.files import check_output, text_output
from assay.pages.escaping import text
from assay.report.found import RESULTS, find
from assay.report.monitor_log import is_monitor_log, read_monitor_log
from assay.report.monitor_page import monitor_page
from assay.report.page import report_page
from assay.report.parts import GENERATOR

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
    """Write the report of a directory, or of a monitor's log; returns where it stands.

    Raises:
        CheckpointError: it is no run, no evaluation and no log, or half of one.
        ConfigError: an option has no use with a log.
        DataError: a file in it is not as it was written.
        OutputError: the page cannot be written, or another file stands in its place.
    """
    output, page = _of_log(run, options) if _is_log(run) else _of_directory(run, options)
    check_output(output, overwrite=True)
    if output.exists() and not _is_report(output):
        raise OutputError(
            "is there, and assay report did not write it",
            where=output,
            mend="name another file with --output",
        )
    with text_output(output) as file:
        file.write(page)
    return output


def _of_directory(run: Path, options: ReportOptions) -> tuple[Path, str]:
    directory = run.parent if run.name == RESULTS else run
    found = find(run, rows=options.rows, probe=options.probe)
    page = report_page(found, title=options.title, texts=options.texts)
    return options.output or directory / "report.html", page


def _is_log(run: Path) -> bool:
    return run.name != RESULTS and run.is_file()


def _of_log(path: Path, options: ReportOptions) -> tuple[Path, str]:
    if options.probe is not None:
        raise ConfigError("a monitor's log has no probe", where="--probe", mend="leave it out")
    if not is_monitor_log(path):
        raise CheckpointError(
            "is no directory, and no monitor's log",
            where=path,
            mend="name a run, the --output of assay eval, or the file of assay serve --monitor-log",
        )
    runs = read_monitor_log(path)
    page = monitor_page(runs, path, title=options.title)
    return options.output or path.with_suffix(".html"), page


def _is_report(path: Path) -> bool:
    with path.open("rb") as file:
        return _MARK.encode() in file.read(1000)
