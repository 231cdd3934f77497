"""`assay report`: one HTML page of a run or an evaluation."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from assay.cli.app import app


@app.command()
def report(
    run: Annotated[
        Path,
        typer.Argument(
            metavar="RUN",
            help="A run, also one that is training, the --output of assay eval, or the file of "
            "assay serve --monitor-log.",
        ),
    ],
    output: Annotated[
        Path | None, typer.Option(help="The page; by default RUN/report.html, of a log beside it.")
    ] = None,
    probe: Annotated[
        Path | None,
        typer.Option(help="The --output of assay probe; by default RUN/probe, if it is there."),
    ] = None,
    title: Annotated[str | None, typer.Option(help="Of the page.")] = None,
    rows: Annotated[
        int, typer.Option(min=0, help="So many mistakes, and so many close calls, of each set.")
    ] = 10,
    no_texts: Annotated[
        bool, typer.Option("--no-texts", help="Leave out the texts of rows.")
    ] = False,
) -> None:
    """Write a run, an evaluation or a monitor's log as one HTML page.

    Curves, margins, calibration, slices, mistakes, the stress audit, data, recipe, versions.
    """
    from assay.report import ReportOptions, report_command

    options = ReportOptions(output=output, probe=probe, title=title, rows=rows, texts=not no_texts)
    print(f"report: {report_command(run, options)}")
