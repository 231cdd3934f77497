"""`assay train`: from a recipe to a trained model."""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from assay.cli.app import app
from assay.cli.options import Plugins
from assay.errors import ConfigError
from assay.process import share_one_heap
from assay.recipe import RecipeField, load_recipe, recipe_fields, source_fields

if TYPE_CHECKING:
    from assay.config import Recipe
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
    limits = f"; {field.bounds}" if field.bounds else ""
    indent = " " * 6
    return [
        f"{dashes}{field.path}  {field.type}  ({default}{limits})",
        *textwrap.wrap(field.description, 72, initial_indent=indent, subsequent_indent=indent),
    ]


@app.command(
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True},
    epilog=_recipe_help(),
)
def train(
    context: typer.Context,
    recipe: Annotated[
        str | None, typer.Argument(help="RECIPE.yaml; a run, to go on with; or flags alone.")
    ] = None,
    resume: Annotated[
        str | None, typer.Option(help="auto (newest valid checkpoint), or a checkpoint.")
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Delete the run that is in output_dir.")
    ] = False,
    seeds: Annotated[
        int | None,
        typer.Option(min=2, help="Train with so many seeds, in OUTPUT/seed-N; mean and spread."),
    ] = None,
    learning_curve: Annotated[
        bool,
        typer.Option(
            "--learning-curve", help="Train on 1/8, 1/4, 1/2 and all of the prompts: OUTPUT/part-N."
        ),
    ] = False,
    engine: Annotated[
        str | None, typer.Option(help="The same as --train.engine: auto, tree, packed, padded.")
    ] = None,
    plugin: Plugins = None,
) -> None:
    """Train a reward model.

    From a recipe, from flags, or from both: flags win.
    """
    share_one_heap()
    flags = list(context.args)
    if engine is not None:
        if any(flag.split("=")[0] == "--train.engine" for flag in [recipe or "", *flags]):
            raise ConfigError("--engine and --train.engine are the same", mend="give one")
        flags += ["--train.engine", engine]
    if resume is not None and overwrite:
        raise ConfigError("--resume and --overwrite contradict each other", mend="give one")
    if seeds is not None and learning_curve:
        raise ConfigError("--seeds and --learning-curve are two series of runs", mend="give one")
    if (seeds is not None or learning_curve) and resume not in (None, "auto"):
        raise ConfigError("a series of runs has no one checkpoint", mend="write --resume auto")
    recipe, flags = _of_a_run(recipe, flags, resume)
    checked = load_recipe(recipe, flags, plugins=plugin or ())
    if seeds is not None or learning_curve:
        _train_series(checked, seeds, resume=resume is not None, overwrite=overwrite)
        return

    from assay.train.loop import train as run_training

    result = run_training(checked, resume=resume, overwrite=overwrite)
    exit_if_stopped(result)
    if result.speaks:
        typer.echo(f"model: {result.run / 'model'}")


def _of_a_run(
    recipe: str | None, flags: list[str], resume: str | None
) -> tuple[str | None, list[str]]:
    """A run directory stands for its own recipe, wherever it was moved to."""
    if recipe is None or recipe.startswith("-") or not Path(recipe).is_dir():
        return recipe, flags
    resolved = Path(recipe) / "recipe.resolved.yaml"
    if not resolved.exists():
        raise ConfigError(
            "is a directory and no run", where=recipe, mend="name a recipe, or a run directory"
        )
    if resume is None:
        raise ConfigError(
            "is a run", where=recipe, mend="add --resume auto to go on, or name a recipe"
        )
    written = Path(load_recipe(str(resolved)).output_dir)
    moved = written.resolve() != Path(recipe).resolve()
    return str(resolved), [*(["--output_dir", recipe] if moved else []), *flags]


def _train_series(checked: Recipe, seeds: int | None, *, resume: bool, overwrite: bool) -> None:
    from assay.train.variations import train_curve, train_seeds

    if seeds is not None:
        series = train_seeds(checked, seeds, resume=resume, overwrite=overwrite)
    else:
        series = train_curve(checked, resume=resume, overwrite=overwrite)
    if series.stopped is not None and series.stopped.stopped_by is not None:
        from assay.train.stopping import EXIT_CODES

        at = f"{series.stopped.run.name}, step {series.stopped.step}"
        typer.echo(f"stopped in {at}; go on with the same command and --resume auto")
        raise typer.Exit(EXIT_CODES[series.stopped.stopped_by])
    typer.echo(f"results: {series.result}")


def exit_if_stopped(result: TrainResult) -> None:
    """Say how to go on with a run that a signal has stopped, and exit as signals do."""
    from assay.train.stopping import EXIT_CODES

    if result.stopped_by is not None:
        if result.speaks:
            typer.echo(f"stopped after step {result.step} of {result.num_steps}; go on with:")
            typer.echo(f"  assay train {result.run} --resume auto")
        raise typer.Exit(EXIT_CODES[result.stopped_by])
