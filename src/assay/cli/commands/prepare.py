"""`assay prepare`: rows to token ids, before a run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from assay.cli.app import app
from assay.cli.options import Plugins
from assay.recipe import load_recipe

if TYPE_CHECKING:
    from assay.data.encoding import EncodedData


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
    plugin: Plugins = None,
) -> None:
    """Read, merge and tokenise the rows of a recipe, once.

    `assay train` does the same and finds what is done. Takes the recipe fields of `assay train`,
    as YAML sections or flags --section.field VALUE; loads no weights. Run again after a kill, it
    goes on where it was.
    """
    flags = list(context.args)
    if recipe is not None and recipe.startswith("-"):
        flags.insert(0, recipe)
        recipe = None
    # Nothing is trained, so that no run directory need be named.
    checked = load_recipe(recipe, ["--output_dir", "none", *flags], plugins=plugin or ())

    from assay.data.plugins import load_plugins
    from assay.data.store import print_table
    from assay.model.reader import reader_for_training
    from assay.train.recipe_data import (
        check_recipe_data,
        mix_and_split,
        prepare_recipe,
        warn_about_overlap,
    )

    load_plugins(checked.plugins)
    renderer = reader_for_training(checked.model)
    try:
        data = prepare_recipe(checked, renderer, workers=workers, output=output)
    except KeyboardInterrupt:
        typer.echo("interrupted; run again to go on with what is done", err=True)
        raise typer.Exit(130) from None
    print_table(data.table())
    for name, store in data.stores():
        typer.echo(f"{name}: {store.path}")
    check_recipe_data(checked, data)
    train, held_out = mix_and_split(checked, data)
    typer.echo(f"to train on: {_told(train)}")
    if held_out is not None:
        typer.echo(f"held out: {_told(held_out)}")
    for name, _, store in data.evals:
        warn_about_overlap(name, train, store)


def _told(data: EncodedData) -> str:
    return f"{len(data.groups):,} prompts, {data.num_comparisons:,} comparisons"
