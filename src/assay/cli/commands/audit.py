"""`assay audit`: the truth about preference rows, before anything is trained on them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from assay.cli.app import app
from assay.cli.options import Columns, Format, Label, Plugins, Revision, Split, source_of

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from assay.data.audit import AuditReport, Fixed


@app.command()
def audit(
    files: Annotated[
        list[str], typer.Argument(metavar="FILE...", help="Preference rows of any known format.")
    ],
    model: Annotated[
        str | None,
        typer.Option(help="Count tokens of this model or tokenizer, instead of characters."),
    ] = None,
    test: Annotated[
        list[str] | None,
        typer.Option("--test", help="A test split, whose prompts must not recur; repeat for more."),
    ] = None,
    against: Annotated[
        list[str] | None,
        typer.Option(
            "--against",
            help="A benchmark that must not stand in training: rows that ask something, or lines "
            "of .txt; repeat for more.",
        ),
    ] = None,
    output: Annotated[
        Path | None, typer.Option(help="A directory for report.html and report.json.")
    ] = None,
    fix: Annotated[
        Path | None,
        typer.Option(help="Write the rows that should stay here, and beside it what went and why."),
    ] = None,
    format: Format = "auto",
    label: Label = None,
    split: Split = None,
    revision: Revision = None,
    columns: Columns = None,
    plugin: Plugins = None,
    json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
    strict: Annotated[
        bool, typer.Option("--strict", help="Exit with 1 where the verdict is no.")
    ] = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace the output and the cleaned file.")
    ] = False,
) -> None:
    """Say whether rows are safe to train on, and why.

    Lengths, duplicates, contradictions, leaks, shortcuts, languages, balance; --fix cleans.
    """
    from assay.data.audit import audit as run_audit
    from assay.data.audit import check_fix, check_report, write_fixed, write_report

    train = [source_of(path, format, label, split, revision, columns, plugin) for path in files]
    tests = [source_of(path, format, label, None, revision, columns) for path in test or ()]
    benchmarks = [source_of(path, columns=columns) for path in against or ()]
    if output is not None:
        check_report(output, overwrite=overwrite)
    if fix is not None:
        check_fix(fix, train, [*tests, *benchmarks], overwrite=overwrite)
    found = run_audit(
        train,
        test=tests,
        against=benchmarks,
        tokenizer=None if model is None else _tokenizer(model),
        model=model,
    )
    fixed = None if fix is None else write_fixed(found, train, fix)
    if output is not None:
        write_report(found.report, output)
    _show(found.report, fixed, json=json)
    if strict and found.report.verdict.safe_to_train == "no":
        raise typer.Exit(1)


def _show(report: AuditReport, fixed: Fixed | None, *, json: bool) -> None:
    from assay.data.audit import print_fixed, print_json, print_report

    if json:
        print_json(report)
        return
    print_report(report)
    if fixed is not None:
        print_fixed(fixed)


def _tokenizer(name: str) -> PreTrainedTokenizerBase:
    from assay.model.locate import locate_model
    from assay.model.reader import tokenizer_of

    return tokenizer_of(locate_model(name, needs_weights=False), None)
