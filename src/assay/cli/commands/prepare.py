"""`assay prepare`: rows to token ids, before a run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from assay.cli.app import app
from assay.cli.options import Plugins
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
    plugin: Plugins = None,
) -> None:
    """Read, merge and tokenise the rows of a recipe, once.

    `assay train` does the same and finds what is done. Takes the recipe fields of `assay train`,
    as YAML sections or flags --section.field VALUE; loads no weights. Run again after a kill, it
    goes on where it was.
    """
    # Nothing is trained, so that no run directory need be named.
    flags = [*context.args, "--output_dir", "none"]
    checked = load_recipe(recipe, flags, plugins=plugin or ())

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
    print_table(data.table(), checked.data.group_name)
    for name, store in data.stores():
        typer.echo(f"{name}: {store.path}")
    check_recipe_data(checked, data)
    train, held_out = mix_and_split(checked, data)
    for side, taken in (("to train on", train), ("held out", held_out)):
        if taken is not None:
            groups = f"{len(taken.groups):,} {checked.data.group_name}"
            typer.echo(f"{side}: {groups}, {taken.num_comparisons:,} comparisons")
    for name, _, store in data.evals:
        warn_about_overlap(name, train, store)
