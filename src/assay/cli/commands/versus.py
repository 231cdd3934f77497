"""`assay versus`: two policies' answers to the same prompts under a reward model."""

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
    Limit,
    MaxLength,
    Model,
    Overwrite,
    Plugins,
    Split,
    Template,
    source_of,
)

_ROWS = "rows with prompt and response(s), or messages; any format that assay score reads."


@app.command()
def versus(
    answers_a: Annotated[str, typer.Argument(help=f"Answers of policy A: {_ROWS}")],
    answers_b: Annotated[str, typer.Argument(help="Answers of policy B to the same prompts.")],
    model: Model,
    output: Annotated[
        Path | None, typer.Option(help="Write all numbers and each prompt's rewards as JSON.")
    ] = None,
    template: Template = None,
    format: Format = "auto",
    split: Split = None,
    columns: Columns = None,
    plugin: Plugins = None,
    limit: Limit = None,
    base: Base = None,
    device: Device = "auto",
    dtype: DType = "auto",
    engine: Engine = "auto",
    max_length: MaxLength = None,
    on_bad_row: BadRows = "error",
    overwrite: Overwrite = False,
) -> None:
    """Compare two policies' answers to the same prompts under a reward model.

    Win rate, mean difference, and the win rate at equal lengths, each with its interval.
    """
    from assay.data.sources import locate
    from assay.evaluate.versus import match, read_policy
    from assay.evaluate.versus_command import versus_command
    from assay.files import check_output

    if output is not None:
        check_output(output, overwrite=overwrite)
    sources = [
        source_of(path, format, None, split, None, columns, plugin)
        for path in (answers_a, answers_b)
    ]
    for source in sources:
        locate(source)
    a, b = (read_policy(source, on_bad_row=on_bad_row, limit=limit) for source in sources)
    match(a, b)  # Before minutes of loading a model.

    from assay.model.loading import load_reward_model

    loaded = load_reward_model(
        model, base=base, template=template, device=device, dtype=dtype, engine=engine
    )
    versus_command(loaded, model, a, b, output=output, limit=limit, max_length=max_length)
