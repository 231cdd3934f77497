"""`assay score`: rewards of a file, or of answers given by hand."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from assay.cli.app import app
from assay.cli.options import (
    Backend,
    BadRows,
    Base,
    Columns,
    Device,
    DType,
    Format,
    Label,
    Limit,
    MaxLength,
    MaybeInput,
    MaybeModel,
    Overwrite,
    Plugins,
    Precision,
    Revision,
    Split,
    Template,
    VllmUrl,
    check_backend,
    given,
    options_of,
    source_of,
)
from assay.errors import ConfigError

if TYPE_CHECKING:
    from assay.score.engines.ray_cluster import RayOptions
    from assay.score.opening import RewarderChoice

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
ScoreEngine = Annotated[
    Literal["auto", "tree", "packed", "padded", "ray"],
    typer.Option(
        help="How rewards are computed: auto takes the fastest right for the model; ray the same "
        "by workers of a Ray cluster."
    ),
]
RayAddress = Annotated[
    str | None,
    typer.Option(help="A cluster of which this machine is part; by default one is started here."),
]
RayWorkers = Annotated[
    int | None, typer.Option(min=1, help="Each with a model; by default as many as fit.")
]
RayThreads = Annotated[
    int | None,
    typer.Option(min=1, help="Of each; by default OMP_NUM_THREADS, or all cores."),
]

_OF_ROWS = frozenset(
    {"input", "style", "shard", "write_reference", "format", "label", "split", "revision"}
    | {"columns", "limit", "on_bad_row"}
)
_OF_RAY = frozenset({"ray_address", "ray_workers", "ray_threads"})
_OF_SHARDS = frozenset({"merge", "shards", "output", "overwrite"})


@app.command()
def score(
    context: typer.Context,
    shards: Shards = None,
    model: MaybeModel = None,
    input: MaybeInput = None,
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
    precision: Precision = "full",
    engine: ScoreEngine = "auto",
    backend: Backend = "assay",
    vllm_url: VllmUrl = None,
    ray_address: RayAddress = None,
    ray_workers: RayWorkers = None,
    ray_threads: RayThreads = None,
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

    from assay.data.sources import locate
    from assay.score.files import ScoreOptions
    from assay.score.shards import WHOLE, Shard

    source = source_of(input or "-", format, label, split, revision, columns, plugin)
    if output is not None:
        command.check_place_of(output, source if mode == "rows" else None, overwrite=overwrite)
    if input is not None:
        locate(source)
    added = command.transform_of(transform, model if reward is None else None)
    part = Shard.parse(shard) if shard else WHOLE
    options = options_of(context, ScoreOptions, transform=added, shard=part)
    choice, ray = _choice(context), _ray(context)
    from assay.score.engines.choosing import opened_here

    with opened_here(choice, ray) as (by, elsewhere):
        if input is None or output is None:
            by_hand = (by, prompt or "", response or [], output)
            command.score_by_hand(*by_hand, transform=options.transform, max_length=max_length)
            return
        files = (source, output, options)
        command.score_rows(by, *files, write_reference=write_reference, elsewhere=elsewhere)


def _choice(context: typer.Context) -> RewarderChoice:
    """The model of `--model`, or what `--reward` says."""
    from assay.score.opening import RewarderChoice

    engine = context.params["engine"]
    return options_of(context, RewarderChoice, engine="auto" if engine == "ray" else engine)


def _ray(context: typer.Context) -> RayOptions | None:
    """What `--engine ray` says."""
    params = context.params
    if params["engine"] != "ray":
        return None
    from assay.score.engines.ray_cluster import RayOptions, check_installed

    check_installed()
    return RayOptions(params["ray_address"], params["ray_workers"], params["ray_threads"])


def _mode(context: typer.Context) -> Literal["rows", "hand", "shards"]:
    """What the flags are for, all of them.

    Raises:
        ConfigError: they do not belong together.
    """
    params = context.params
    check_backend(context)
    _check_ray(context)
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
        useless = _OF_ROWS if params["output"] is not None else _OF_ROWS | {"overwrite"}
        for flag in given(context, useless):
            raise ConfigError(
                f"{flag} is for the rows of a file, not for --prompt and --response",
                mend="leave it out, or give --input",
            )
    return "hand" if by_hand else "rows"


def _check_ray(context: typer.Context) -> None:
    params = context.params
    if params["engine"] != "ray":
        for flag in given(context, _OF_RAY):
            raise ConfigError(f"{flag} is for --engine ray", mend="give --engine ray, too")
    elif params["precision"] != "full":
        raise ConfigError(
            "--engine ray has no one who would tell what --precision does",
            mend="leave one of the two out",
        )
    elif (
        params["prompt"] is not None
        or params["response"]
        or "-" in (params["input"], str(params["output"]))
    ):
        raise ConfigError(
            "--engine ray scores a file into a file", mend="give --input FILE and --output FILE"
        )


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
