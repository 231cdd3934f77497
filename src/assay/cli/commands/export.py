"""`assay export`: data for other trainers, made of scored rows."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from assay.cli.app import app
from assay.cli.options import Format, Label, Overwrite, Plugins, source_of

export = typer.Typer(
    name="export",
    help="Make pairs or demonstrations of scored rows.",
    add_completion=False,
    rich_markup_mode=None,
    no_args_is_help=True,
)
app.add_typer(export)

Scores = Annotated[str, typer.Option(help="A file that assay score wrote.")]
Output = Annotated[Path, typer.Option(help="FILE.jsonl, or FILE.json (a list).")]


@export.command()
def dpo(
    scores: Scores,
    to: Annotated[
        str, typer.Option("--for", help="trl, llamafactory, openrlhf, ms-swift, handbook.")
    ],
    output: Output,
    select: Annotated[
        Literal["best-worst", "label", "random"],
        typer.Option(
            help="Highest against lowest reward; the pairs that the rows hold; two at random."
        ),
    ] = "best-worst",
    min_margin: Annotated[
        float | None,
        typer.Option(help="Leave out pairs with less; with label, 0 drops contradicted ones."),
    ] = None,
    seed: Annotated[int, typer.Option(help="Of --select random.")] = 0,
    format: Format = "auto",
    label: Label = None,
    plugin: Plugins = None,
    overwrite: Overwrite = False,
) -> None:
    """Pairs of a better and a worse answer, as a trainer of preferences reads them.

    Prints how many, their mean margin and their length bias.
    """
    from assay.score.export.command import PairOptions, export_pairs

    source = source_of(scores, format, label, plugins=plugin)
    export_pairs(source, output, PairOptions(to, select, min_margin, seed, overwrite))


@export.command()
def best_of_n(
    scores: Scores,
    output: Output,
    n: Annotated[
        int | None, typer.Option("--n", min=1, help="Of the first so many answers (default: all).")
    ] = None,
    format: Format = "auto",
    plugin: Plugins = None,
    overwrite: Overwrite = False,
) -> None:
    """The best answer to each prompt, as a conversation."""
    from assay.score.export.command import export_answers

    source = source_of(scores, format, plugins=plugin)
    export_answers(source, output, among=n, overwrite=overwrite)


@export.command()
def sft(
    scores: Scores,
    output: Output,
    top_k: Annotated[int, typer.Option(min=1, help="Answers of a prompt at most.")] = 1,
    min_reward: Annotated[
        float | None, typer.Option(help="Leave out answers with a lower reward.")
    ] = None,
    format: Format = "auto",
    plugin: Plugins = None,
    overwrite: Overwrite = False,
) -> None:
    """The k best answers to each prompt, as conversations to imitate."""
    from assay.score.export.command import export_answers

    source = source_of(scores, format, plugins=plugin)
    export_answers(source, output, count=top_k, min_reward=min_reward, overwrite=overwrite)
