"""`assay pull`: fetch a model or a data set."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from assay.cli.app import app
from assay.errors import ConfigError
from assay.notices import counted


@app.command()
def pull(
    model: Annotated[
        str | None, typer.Argument(help="smollm2-135m-instruct, org/name, modelscope:...")
    ] = None,
    dataset: Annotated[
        str | None,
        typer.Option(
            help="A data set instead: org/name, modelscope://org/name, each also :CONFIG."
        ),
    ] = None,
    revision: Annotated[str | None, typer.Option(help="Branch, tag or commit.")] = None,
    output: Annotated[Path | None, typer.Option(help="Copy it here.")] = None,
) -> None:
    """Fetch a model or a data set and say where it lies."""
    if (model is None) == (dataset is None):
        raise ConfigError(
            "pull takes either a model or --dataset", mend="name one model, or one data set"
        )
    if model is not None:
        _pull_model(model, revision, output)
    elif dataset is not None:
        _pull_dataset(dataset, revision, output)


def _pull_model(name: str, revision: str | None, output: Path | None) -> None:
    from assay.model.pull import pull as fetch

    pulled = fetch(name, revision=revision, output=output)
    typer.echo(f"path: {pulled.path}")
    typer.echo(f"template: {pulled.template or 'none'}")
    typer.echo(f"licence: {pulled.licence}")


def _pull_dataset(name: str, revision: str | None, output: Path | None) -> None:
    from assay.data.hub import pull_dataset

    pulled = pull_dataset(name, revision=revision, output=output)
    typer.echo(f"path: {pulled.path}")
    typer.echo(f"source: {pulled.source}")
    for split, files in pulled.splits.items():
        size = sum(file.stat().st_size for file in files) / 1e6
        typer.echo(f"split {split}: {counted(len(files), 'file')}, {size:.1f} MB")
    if pulled.unassigned:
        typer.echo(f"in no split: {', '.join(pulled.unassigned)}")
    typer.echo(f"licence: {pulled.licence}")
