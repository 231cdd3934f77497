"""`assay eval`: how good a model is on preference rows."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

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
    MaybeInput,
    MaybeModel,
    Overwrite,
    Plugins,
    Revision,
    Split,
    Template,
    given,
    model_and_input,
    options_of,
    source_of,
)
from assay.config import OverLength
from assay.errors import ConfigError

if TYPE_CHECKING:
    from assay.data.sources import DataSource
    from assay.evaluate.command import EvalOptions

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
        help="Rewards in place of a model: what assay score or assay eval wrote of rows; with "
        "--benchmark, items.jsonl or the authors' score file."
    ),
]
OverLengthOption = Annotated[
    OverLength, typer.Option(help="What becomes of a response over the length; none is ever cut.")
]
AllCheckpoints = Annotated[
    bool, typer.Option("--all-checkpoints", help="Evaluate each checkpoint of a run.")
]

_OF_A_MODEL = (
    *("model", "input", "all_checkpoints", "template", "base", "device", "dtype", "engine"),
    *("max_length", "over_length", "revision"),
)
"""What has no meaning where rewards are stored."""

_OF_ROWS = ("format", "label", "split", "columns", "plugin")
"""What a benchmark's file of scores decides by itself."""


@app.command()
def eval(
    context: typer.Context,
    model: MaybeModel = None,
    input: MaybeInput = None,
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
    all_checkpoints: AllCheckpoints = False,
    base: Base = None,
    device: Device = "auto",
    dtype: DType = "auto",
    engine: Engine = "auto",
    max_length: MaxLength = None,
    over_length: OverLengthOption = "drop",
    on_bad_row: BadRows = "error",
    overwrite: Overwrite = False,
) -> None:
    """Evaluate on preference rows, or on a benchmark.

    Accuracy with its interval, margins, baselines, and every row that was left out.
    """
    if benchmark == "list":
        from assay.evaluate.benchmarks.report import print_benchmarks

        print_benchmarks()
        return
    from assay.evaluate.command import EvalOptions, evaluate_command, stored_scores_command

    options = options_of(context, EvalOptions, output=output)
    if scores is None:
        model, input = model_and_input(context, model, input)
    else:
        _refuse(given(context, _OF_A_MODEL), "--scores takes the place of a model and its rows")
    source = source_of(scores or str(input), format, label, split, revision, columns, plugin)
    if benchmark is not None:
        _evaluate_benchmark(context, benchmark, source, options, of_scores=scores is not None)
    elif scores is not None:
        stored_scores_command(source, options)
    else:
        evaluate_command(str(model), source, options, all_checkpoints=all_checkpoints)


def _evaluate_benchmark(
    context: typer.Context, name: str, source: DataSource, options: EvalOptions, *, of_scores: bool
) -> None:
    from assay.evaluate.benchmarks.command import benchmark_command, scores_command

    if of_scores:
        _refuse(given(context, _OF_ROWS), f"scores of {name} are read their own way")
        scores_command(name, source.path, options)
        return
    _refuse(given(context, ["all_checkpoints"]), "--benchmark evaluates one model")
    benchmark_command(name, context.params["model"], source, options)


def _refuse(flags: list[str], why: str) -> None:
    """Refuse flags that have no meaning beside the others."""
    if flags:
        listed = " and ".join(filter(None, (", ".join(flags[:-1]), flags[-1])))
        verb = "is" if len(flags) == 1 else "are"
        raise ConfigError(f"{why}, and {listed} {verb} given", mend=f"leave {listed} out")
