"""Places for people: without the directory that all files lie in."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

from assay.data.audit.report import AuditReport, Reason


def without_directory(report: AuditReport) -> AuditReport:
    """The report with the common directory of all its files taken off every place."""
    prefix = _common([file.file for file in report.files])
    if not prefix:
        return report

    def short(text: str) -> str:
        return text.replace(prefix, "")

    def places(texts: Iterable[str]) -> list[str]:
        return [text.removeprefix(prefix) for text in texts]

    def shorter(reasons: Iterable[Reason]) -> list[Reason]:
        return [
            replace(reason, text=short(reason.text), places=places(reason.places))
            for reason in reasons
        ]

    def named(rows: Iterable[Any]) -> list[Any]:
        return [replace(row, file=row.file.removeprefix(prefix)) for row in rows]

    specials = report.special_tokens
    return replace(
        report,
        verdict=replace(report.verdict, reasons=shorter(report.verdict.reasons)),
        by_file=[replace(row, reasons=shorter(row.reasons)) for row in named(report.by_file)],
        bad_rows=[replace(flaw, first=flaw.first.removeprefix(prefix)) for flaw in report.bad_rows],
        files=named(report.files),
        lengths=named(report.lengths),
        histograms=named(report.histograms),
        findings=[
            replace(
                finding,
                detail=short(finding.detail),
                by_file=dict(zip(places(finding.by_file), finding.by_file.values(), strict=True)),
                examples=[replace(e, places=places(e.places)) for e in finding.examples],
            )
            for finding in report.findings
        ],
        special_tokens=specials and replace(specials, places=places(specials.places)),
    )


def _common(files: list[str]) -> str:
    """The directory that all files lie in, with a slash; nothing where there is none."""
    try:
        directory = os.path.commonpath([str(Path(file).parent) for file in files])
    except ValueError:  # Absolute and relative ones.
        return ""
    return "" if directory in ("", ".", "/") else f"{directory}/"
