"""`assay eval`: how good a model is on preference rows."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from assay.cli.app import app
from assay.cli.options import (
    BadRows,
    Base,
    Columns,
    Device,
    DType,
    Engine,
    Format,
    Label,
    Limit,
    MaxLength,
    Plugins,
    Revision,
    Split,
    Template,
    source_of,
)
from assay.config import OverLength
from assay.errors import ConfigError

TheModel = Annotated[
    str | None,
    typer.Option(
        help="A run, its model/, a checkpoints directory, one checkpoint, an adapter, a "
        "directory, a pulled name, a hub id, or modelscope:org/name."
    ),
]
TheInput = Annotated[
    str | None,
    typer.Option(
        help="Rows of any known format: file, directory, glob, org/name of a data set, "
        "sample:NAME, - for stdin."
    ),
]
BenchmarkName = Annotated[
    str | None,
    typer.Option(
        help="Read the rows of a benchmark and compute its numbers as its authors do; list "
        "names them all."
    ),
]
StoredScores = Annotated[
    str | None,
    typer.Option(
        help="With --benchmark: rewards from items.jsonl or the authors' score file, no model."
    ),
]


@app.command()
def eval(
    model: TheModel = None,
    input: TheInput = None,
    output: Annotated[Path | None, typer.Option(help="Write results.json here.")] = None,
    benchmark: BenchmarkName = None,
    scores: StoredScores = None,
    split: Split = None,
    limit: Limit = None,
    template: Template = None,
    format: Format = "auto",
    label: Label = None,
    revision: Revision = None,
    columns: Columns = None,
    plugin: Plugins = None,
    all_checkpoints: Annotated[
        bool, typer.Option("--all-checkpoints", help="Evaluate each checkpoint of a run.")
    ] = False,
    base: Base = None,
    device: Device = "auto",
    dtype: DType = "auto",
    engine: Engine = "auto",
    max_length: MaxLength = None,
    over_length: Annotated[
        OverLength,
        typer.Option(help="What becomes of a response over the length; none is ever cut."),
    ] = "drop",
    on_bad_row: BadRows = "error",
) -> None:
    """Evaluate on preference rows, or on a benchmark.

    Accuracy with its interval, margins, baselines, and every row that was left out.
    """
    if benchmark == "list":
        from assay.evaluate.benchmarks.report import print_benchmarks

        print_benchmarks()
        return
    from assay.evaluate.command import EvalOptions, evaluate_command

    options = EvalOptions(
        output=output,
        limit=limit,
        template=template,
        base=base,
        device=device,
        dtype=dtype,
        max_length=max_length,
        over_length=over_length,
        on_bad_row=on_bad_row,
        engine=engine,
    )
    if scores is not None:
        from assay.evaluate.benchmarks.command import scores_command

        name = _of_scores(benchmark, model, input, all_checkpoints=all_checkpoints)
        scores_command(name, scores, options)
        return
    model, input = _both(model, input)
    source = source_of(input, format, label, split, revision, columns, plugin)
    if benchmark is None:
        evaluate_command(model, source, options, all_checkpoints=all_checkpoints)
        return
    from assay.evaluate.benchmarks.command import benchmark_command

    if all_checkpoints:
        raise ConfigError(
            "--benchmark evaluates one model", mend="leave --all-checkpoints out, or name each"
        )
    benchmark_command(benchmark, model, source, options)


def _both(model: str | None, input: str | None) -> tuple[str, str]:
    if model is None:
        raise ConfigError("missing option '--model'", mend="see assay eval --help")
    if input is None:
        raise ConfigError("missing option '--input'", mend="see assay eval --help")
    return model, input


def _of_scores(
    benchmark: str | None, model: str | None, input: str | None, *, all_checkpoints: bool
) -> str:
    """The benchmark of stored scores, which hold their rows and need no model."""
    if benchmark is None:
        raise ConfigError("--scores needs --benchmark", mend="name the benchmark of the scores")
    given = [
        flag
        for flag, value in (
            ("--model", model),
            ("--input", input),
            ("--all-checkpoints", all_checkpoints or None),
        )
        if value is not None
    ]
    if given:
        raise ConfigError(
            f"--scores takes the place of a model and rows, and {' and '.join(given)} is given",
            mend=f"leave {' and '.join(given)} out",
        )
    return benchmark
