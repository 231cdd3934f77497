"""`assay render`: what the model reads."""

from __future__ import annotations

from typing import Annotated

import typer

from assay.cli.app import app
from assay.cli.options import (
    Base,
    Columns,
    Format,
    Input,
    Label,
    Plugins,
    Revision,
    Split,
    Template,
    source_of,
)


@app.command()
def render(
    input: Input,
    model: Annotated[str | None, typer.Option(help="Read as this model does.")] = None,
    tokenizer: Annotated[str | None, typer.Option(help="A directory with a tokenizer.")] = None,
    template: Template = None,
    base: Base = None,
    format: Format = "auto",
    row: Annotated[int, typer.Option(min=1, help="Which row, counted from 1.")] = 1,
    label: Label = None,
    split: Split = None,
    revision: Revision = None,
    columns: Columns = None,
    plugin: Plugins = None,
) -> None:
    """Print exactly what the model reads.

    Text, ids, end token, shared prefix and scored token, of one row; needs no weights.
    """
    from assay.data.showing import show_row
    from assay.model.reader import open_reader

    source = source_of(input, format, label, split, revision, columns, plugin)
    show_row(open_reader(model, tokenizer, template, base), source, row)
