"""`assay doctor`: what works here, and what a recipe or a model lacks."""

from __future__ import annotations

from typing import Annotated

import typer

from assay.cli.app import app
from assay.cli.options import MaybeModel


@app.command()
def doctor(
    recipe: Annotated[
        str | None, typer.Argument(metavar="[RECIPE]", help="A recipe: what it lacks to train.")
    ] = None,
    model: MaybeModel = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")] = False,
) -> None:
    """Say what is installed, what this machine has, what computes here, and what is missing.

    Nothing is fetched, trained or written but the cache of probes. Exit code 0: nothing is wrong;
    1: a problem was found; 2: there is no such recipe, or a flag is wrong.
    """
    from assay.doctor import Diagnosis, examine

    diagnosis = Diagnosis()
    for section in examine(recipe, model):
        diagnosis.sections.append(section)
        if not as_json:
            typer.echo(f"{section.as_text()}\n")
    if as_json:
        import json

        typer.echo(json.dumps(diagnosis.as_json(), ensure_ascii=False, indent=2))
    else:
        typer.echo(diagnosis.verdict())
    if diagnosis.problems:
        raise typer.Exit(1)
