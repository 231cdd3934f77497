"""`assay score`: rewards of a file, or of answers given by hand."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from assay.cli.app import app
from assay.cli.options import (
    BadRows,
    Base,
    Columns,
    Device,
    DType,
    Engine,
    Format,
    Label,
    Limit,
    MaxLength,
    MaybeModel,
    Overwrite,
    Plugins,
    Revision,
    Split,
    Template,
    given,
    source_of,
)
from assay.errors import ConfigError

if TYPE_CHECKING:
    from assay.score.rewarder import Rewarder

Shards = Annotated[
    list[str] | None, typer.Argument(metavar="[SHARD]...", help="With --merge: their outputs.")
]
Output = Annotated[
    Path | None, typer.Option(help="FILE.jsonl, one line a row; FILE.parquet; - for stdout.")
]

Transformed = Annotated[
    str | None,
    typer.Option(
        help="Add a column beside the raw rewards: sigmoid, temperature=T (r / T), zscore "
        "(with the model's reference), zscore=MEAN,STD."
    ),
]
RewardFile = Annotated[
    Path | None,
    typer.Option(help="A YAML file: models and heads by weight, length penalty, rules."),
]
WriteReference = Annotated[
    bool,
    typer.Option(
        "--write-reference", help="Keep mean and std of the rewards with the model, for zscore."
    ),
]

_OF_ROWS = frozenset(
    {"input", "output", "style", "shard", "write_reference", "format", "label", "split"}
    | {"revision", "columns", "limit", "on_bad_row", "overwrite"}
)
_OF_SHARDS = frozenset({"merge", "shards", "output", "overwrite"})
_LOADING = ("base", "template", "device", "dtype", "engine")


@app.command()
def score(
    context: typer.Context,
    shards: Shards = None,
    model: MaybeModel = None,
    input: Annotated[
        str | None, typer.Option(help="Rows of any known format, - for stdin.")
    ] = None,
    output: Output = None,
    prompt: Annotated[str | None, typer.Option(help="By hand: the prompt.")] = None,
    response: Annotated[
        list[str] | None, typer.Option("--response", help="By hand: an answer; repeat for more.")
    ] = None,
    reward: RewardFile = None,
    transform: Transformed = None,
    style: Annotated[
        Literal["assay", "messages"],
        typer.Option(help="Where scores stand: under assay, or in the last message."),
    ] = "assay",
    shard: Annotated[
        str | None, typer.Option(help="i/n: every n-th window of 4,096 rows, to be merged later.")
    ] = None,
    merge: Annotated[
        bool, typer.Option("--merge", help="Merge the outputs of all shards of a job.")
    ] = False,
    write_reference: WriteReference = False,
    template: Template = None,
    format: Format = "auto",
    label: Label = None,
    split: Split = None,
    revision: Revision = None,
    columns: Columns = None,
    plugin: Plugins = None,
    limit: Limit = None,
    base: Base = None,
    device: Device = "auto",
    dtype: DType = "auto",
    engine: Engine = "auto",
    max_length: MaxLength = None,
    on_bad_row: BadRows = "error",
    overwrite: Overwrite = False,
) -> None:
    """Score a file, or answers given by hand.

    A job that was killed is gone on with by the same command: its output is the same to the byte.
    """
    mode = _mode(context)
    from assay.score import command

    if mode == "shards":
        command.merge_to_file(shards or [], output or Path(), overwrite=overwrite)
        return
    if mode == "rows" and output is not None:
        command.check_place_of(output, overwrite=overwrite)

    from assay.data.sources import locate
    from assay.score.files import ScoreOptions
    from assay.score.shards import WHOLE, Shard

    source = source_of(input or "-", format, label, split, revision, columns, plugin)
    if input is not None:
        locate(source)
    options = ScoreOptions(
        style=style,
        transform=command.transform_of(transform, model if reward is None else None),
        max_length=max_length,
        on_bad_row=on_bad_row,
        limit=limit,
        overwrite=overwrite,
        shard=Shard.parse(shard) if shard else WHOLE,
    )
    by = _rewarder(model, reward, {flag: context.params[flag] for flag in _LOADING})
    if input is None or output is None:
        added = options.transform
        by_hand = (by, prompt or "", response or [])
        command.score_by_hand(*by_hand, transform=added, max_length=max_length)
    else:
        command.score_rows(by, source, output, options, write_reference=write_reference)


def _rewarder(model: str | None, reward: Path | None, loading: dict[str, Any]) -> Rewarder:
    """The model of `--model`, or what `--reward` says."""
    from assay.model.loading import load_reward_model
    from assay.score.rewarder import OneModel
    from assay.score.several import load_several

    if reward is not None:
        return load_several(reward, model, lambda name: load_reward_model(name, **loading))
    name = model or ""
    return OneModel(load_reward_model(name, **loading), name)


def _mode(context: typer.Context) -> Literal["rows", "hand", "shards"]:
    """What the flags are for, all of them.

    Raises:
        ConfigError: they do not belong together.
    """
    params = context.params
    by_hand = params["prompt"] is not None or bool(params["response"])
    if params["merge"] or params["shards"]:
        _check_merge(context)
        return "shards"
    if params["model"] is None and params["reward"] is None:
        raise ConfigError("missing option '--model'", mend=f"see {context.command_path} --help")
    if by_hand == (params["input"] is not None):
        raise ConfigError(
            "score takes either --input and --output, or --prompt and --response",
            mend="give one of the two",
        )
    if not by_hand and params["output"] is None:
        raise ConfigError("--output is missing", mend="give --output FILE.jsonl")
    if by_hand:
        _check_by_hand(params["prompt"], params["response"])
        for flag in given(context, _OF_ROWS):
            raise ConfigError(
                f"{flag} is for the rows of a file, not for --prompt and --response",
                mend="leave it out, or give --input",
            )
    return "hand" if by_hand else "rows"


def _check_merge(context: typer.Context) -> None:
    params = context.params
    if not params["merge"]:
        raise ConfigError(
            f"unexpected argument '{params['shards'][0]}'",
            mend=f"outputs of shards go with --merge; see {context.command_path} --help",
        )
    others = {parameter.name or "" for parameter in context.command.params} - _OF_SHARDS
    for flag in given(context, others):
        raise ConfigError(f"{flag} has no use with --merge", mend="leave it out")
    if params["output"] is None:
        raise ConfigError("--output is missing", mend="give --output FILE")


def _check_by_hand(prompt: str | None, responses: list[str] | None) -> None:
    if prompt is None or not responses:
        raise ConfigError("by hand takes --prompt and at least one --response", mend="give both")
    for text in [prompt, *responses]:
        try:
            text.encode()
        except UnicodeEncodeError:
            raise ConfigError(
                "--prompt or --response is not UTF-8 text", mend="give it in UTF-8"
            ) from None
