"""`assay train`: from a recipe to a trained model."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING, Annotated

import typer

from assay.cli.app import app
from assay.cli.options import Plugins
from assay.errors import ConfigError
from assay.recipe import RecipeField, load_recipe, recipe_fields, source_fields

if TYPE_CHECKING:
    from assay.train.loop import TrainResult


def _recipe_help() -> str:
    lines = ["\b", "Recipe fields: YAML sections, or flags --section.field VALUE."]
    for field in recipe_fields():
        lines += _field_help(field, "--")
    lines.append("Fields of each file in data.train and data.eval (YAML only):")
    for field in source_fields():
        lines += _field_help(field, "")
    return "\n".join(lines)


def _field_help(field: RecipeField, dashes: str) -> list[str]:
    default = field.default if field.default == "required" else f"default: {field.default}"
    indent = " " * 6
    return [
        f"{dashes}{field.path}  {field.type}  ({default})",
        *textwrap.wrap(field.description, 72, initial_indent=indent, subsequent_indent=indent),
    ]


@app.command(
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True},
    epilog=_recipe_help(),
)
def train(
    context: typer.Context,
    recipe: Annotated[str | None, typer.Argument(help="RECIPE.yaml; or flags alone.")] = None,
    resume: Annotated[
        str | None, typer.Option(help="auto (newest valid checkpoint), or a checkpoint.")
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Delete the run that is in output_dir.")
    ] = False,
    engine: Annotated[
        str | None, typer.Option(help="The same as --train.engine: auto, tree, packed, padded.")
    ] = None,
    plugin: Plugins = None,
) -> None:
    """Train a reward model.

    From a recipe, from flags, or from both: flags win.
    """
    flags = list(context.args)
    if engine is not None:
        if any(flag.split("=")[0] == "--train.engine" for flag in [recipe or "", *flags]):
            raise ConfigError("--engine and --train.engine are the same", mend="give one")
        flags += ["--train.engine", engine]
    if resume is not None and overwrite:
        raise ConfigError("--resume and --overwrite contradict each other", mend="give one")
    checked = load_recipe(recipe, flags, plugins=plugin or ())

    from assay.train.loop import train as run_training

    result = run_training(checked, resume=resume, overwrite=overwrite)
    exit_if_stopped(result)
    if result.speaks:
        typer.echo(f"model: {result.run / 'model'}")


def exit_if_stopped(result: TrainResult) -> None:
    """Say how to go on with a run that a signal has stopped, and exit as signals do."""
    from assay.train.stopping import EXIT_CODES

    if result.stopped_by is not None:
        if result.speaks:
            typer.echo(f"stopped after step {result.step} of {result.num_steps}; go on with:")
            typer.echo(f"  assay train {result.run}/recipe.resolved.yaml --resume auto")
        raise typer.Exit(EXIT_CODES[result.stopped_by])
