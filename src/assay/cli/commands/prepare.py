"""`assay prepare`: rows to token ids, before a run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from assay.cli.app import app
from assay.recipe import load_recipe


@app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
def prepare(
    context: typer.Context,
    recipe: Annotated[str | None, typer.Argument(help="RECIPE.yaml; or flags alone.")] = None,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Processes (default: one for each core).")
    ] = None,
    output: Annotated[
        Path | None, typer.Option(help="Directory for the stores (default: the cache).")
    ] = None,
) -> None:
    """Read, merge and tokenise the rows of a recipe, once.

    `assay train` does the same and finds what is done. Takes the recipe fields of `assay train`,
    as YAML sections or flags --section.field VALUE; loads no weights. Run again after a kill, it
    goes on where it was.
    """
    checked = load_recipe(recipe, context.args)

    from assay.data.plugins import load_plugins
    from assay.data.store import print_table
    from assay.model.reader import reader_for_training
    from assay.train.recipe_data import check_recipe_data, prepare_recipe

    load_plugins(checked.plugins)
    renderer = reader_for_training(checked.model)
    data = prepare_recipe(checked, renderer, workers=workers, output=output)
    print_table(data.table())
    for name, store in data.stores():
        typer.echo(f"{name}: {store.path}")
    check_recipe_data(checked, data)
