"""The report as files of a directory, and as JSON on standard output."""

from __future__ import annotations

import json
from pathlib import Path

from assay.data.audit.findings import counted
from assay.data.audit.fix import Fixed
from assay.data.audit.page import html_page
from assay.data.audit.report import AuditReport
from assay.errors import OutputError
from assay.files import text_output

NAMES = ("report.html", "report.json")


def check_report(directory: Path, *, overwrite: bool) -> None:
    """Refuse, before anything is read, a directory that cannot hold the report.

    Raises:
        OutputError: it is a file, or holds a report and `overwrite` is off.
    """
    if directory.exists() and not directory.is_dir():
        raise OutputError("is not a directory", where=directory, mend="name a directory")
    for name in NAMES:
        if (directory / name).exists() and not overwrite:
            raise OutputError(
                "is there already",
                where=directory / name,
                mend="add --overwrite, or name another directory",
            )


def write_report(report: AuditReport, directory: Path) -> None:
    """Write `report.html` and `report.json`.

    Raises:
        OutputError: they cannot be written.
    """
    texts = dict(zip(NAMES, (html_page(report), _json(report) + "\n"), strict=True))
    for name, text in texts.items():
        with text_output(directory / name) as file:
            file.write(text)


def print_json(report: AuditReport) -> None:
    """Print the report as JSON."""
    print(_json(report))


def print_fixed(fixed: Fixed) -> None:
    """Print what a cleaned file holds and what went."""
    gone = ", ".join(f"{reason}: {count}" for reason, count in fixed.removed.items()) or "none"
    print(f"\ncleaned: {fixed.output}, {counted(fixed.kept, 'row')}")
    print(f"removed: {fixed.removed_file}, {counted(sum(fixed.removed.values()), 'row')} ({gone})")


def _json(report: AuditReport) -> str:
    return json.dumps(report.as_json(), ensure_ascii=False, indent=1)
