"""`assay probe`: how far changes that should not matter, or should hurt, move the reward."""

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
    MaxLength,
    MaybeInput,
    MaybeModel,
    Overwrite,
    Plugins,
    Revision,
    Split,
    Template,
    model_and_input,
    options_of,
    source_of,
)


@app.command()
def probe(
    context: typer.Context,
    model: MaybeModel = None,
    input: MaybeInput = None,
    output: Annotated[
        Path | None, typer.Option(help="Write probe.json and probe.jsonl here.")
    ] = None,
    limit: Annotated[
        int, typer.Option(min=2, help="Probe so many prompts, drawn by the seed.")
    ] = 200,
    transform: Annotated[
        list[str] | None,
        typer.Option(help="Only this change; repeat for more; list names them all."),
    ] = None,
    seed: Annotated[int, typer.Option(help="Draws the prompts, and answers that stand in.")] = 0,
    template: Template = None,
    format: Format = "auto",
    label: Label = None,
    split: Split = None,
    revision: Revision = None,
    columns: Columns = None,
    plugin: Plugins = None,
    base: Base = None,
    device: Device = "auto",
    dtype: DType = "auto",
    engine: Engine = "auto",
    max_length: MaxLength = None,
    on_bad_row: BadRows = "error",
    overwrite: Overwrite = False,
) -> None:
    """Change answers in ways that should not raise a reward, and see.

    Filler, flattery, bullets, half an answer, ...: the shift of each with its interval, and what
    a policy would gain.
    """
    if "list" in (transform or ()):
        from assay.evaluate.probe import transforms
        from assay.evaluate.probe.report import print_transforms

        print_transforms(transforms())
        return
    from assay.evaluate.probe.command import ProbeOptions, probe_command

    model, input = model_and_input(context, model, input)
    options = options_of(context, ProbeOptions, output=output, transform=tuple(transform or ()))
    source = source_of(input, format, label, split, revision, columns, plugin)
    probe_command(model, source, options)
