"""`assay export`: data for other trainers, made of scored rows."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from assay.cli.app import app
from assay.cli.options import Format, Label, Overwrite, Plugins, source_of
from assay.notices import counted

export = typer.Typer(
    name="export",
    help="Make pairs or demonstrations of scored rows; clean comparisons.",
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


Folds = Annotated[
    Path | None,
    typer.Option(help="What assay export folds made: no label is judged by a model that saw it."),
]


@export.command()
def relabel(
    scores: Annotated[
        list[str], typer.Option(help="A file that assay score wrote; repeat for more.")
    ],
    output: Output,
    drop_below: Annotated[
        float | None, typer.Option(min=0, max=1, help="Drop labels with a lower posterior.")
    ] = None,
    flip_below: Annotated[
        float | None, typer.Option(min=0, max=0.5, help="Turn labels round with a lower posterior.")
    ] = None,
    temperature: Annotated[
        float, typer.Option(help="The posterior is sigmoid(margin / temperature).")
    ] = 1.0,
    folds: Folds = None,
    format: Format = "auto",
    label: Label = None,
    plugin: Plugins = None,
    overwrite: Overwrite = False,
) -> None:
    """Comparisons without those that the rewards contradict: dropped, or turned round.

    Prints how many, and mean margin and length bias before and after.
    """
    from assay.score.export.judging import Thresholds
    from assay.score.export.relabel import export_relabelled

    thresholds = Thresholds(drop_below, flip_below, temperature)
    sources = [source_of(path, format, label, plugins=plugin) for path in scores]
    export_relabelled(sources, output, thresholds, folds=folds, overwrite=overwrite)


@export.command()
def folds(
    input: Annotated[str, typer.Option(help="Rows with comparisons, of any known format.")],
    output: Annotated[Path, typer.Option(help="A directory that is not there yet.")],
    count: Annotated[int, typer.Option("--folds", min=2, max=100, help="How many.")] = 5,
    seed: Annotated[int, typer.Option(help="Another one deals the prompts otherwise.")] = 0,
    format: Format = "auto",
    label: Label = None,
    plugin: Plugins = None,
) -> None:
    """Rows in folds by prompt: of each what is held out, and the others to train on."""
    from assay.score.export.folds import write_folds

    made = write_folds(source_of(input, format, label, plugins=plugin), output, count, seed=seed)
    for fold in made:
        typer.echo(
            f"{output / fold.held}: {counted(fold.rows, 'row')}; the others: {output / fold.train}"
        )
