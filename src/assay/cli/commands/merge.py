"""`assay merge`: an adapter, or another program's reward model, as a plain directory."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from assay.cli.app import app
from assay.cli.options import Base, Template


@app.command()
def merge(
    model: Annotated[
        str,
        typer.Argument(
            help="An adapter (of a run: RUN/adapter), a directory of LLaMA-Factory, OpenRLHF or "
            "TRL, or any other model that --model takes and that is not plain already."
        ),
    ],
    output: Annotated[Path, typer.Option(help="A directory that is not there yet.")],
    base: Base = None,
    template: Template = None,
    dtype: Annotated[
        str,
        typer.Option(
            help="auto (the narrowest that rounds nothing), float32, bfloat16, float16, float64."
        ),
    ] = "auto",
) -> None:
    """Write an adapter, or another program's model, as a plain one.

    A directory that transformers, vLLM, SGLang and PEFT load, with head, tokenizer and template.
    """
    from assay.model.merging import merge as write_merged

    merged = write_merged(model, output, base=base, template=template, dtype=dtype)
    typer.echo(f"{merged.architecture}, {merged.dtype}")
    if merged.reward_offset:
        typer.echo(
            f"reward offset {merged.reward_offset:+.6g}: Assay adds it to each reward "
            "(assay.json), other programs do not; gaps between rewards are the same"
        )
    typer.echo(f"model: {merged.output}")
