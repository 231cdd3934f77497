"""Options that several commands take, with their help."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import fields
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar

import typer

from assay.config import EngineChoice
from assay.errors import ConfigError

if TYPE_CHECKING:
    from assay.data.sources import DataSource

OnBadRow = Literal["error", "skip"]
Options = TypeVar("Options", bound=Any)
_MODEL = typer.Option(
    help="A run, its model/, a checkpoints directory, one checkpoint, an adapter, a "
    "directory, a pulled name, a hub id, or modelscope:org/name."
)
_INPUT = typer.Option(
    help="Rows of any known format: file, directory, glob, org/name of a data set, "
    "sample:NAME, - for stdin."
)
Model = Annotated[str, _MODEL]
Input = Annotated[str, _INPUT]
# For commands that have something to do without them, such as naming what they know.
MaybeModel = Annotated[str | None, _MODEL]
MaybeInput = Annotated[str | None, _INPUT]
Base = Annotated[str | None, typer.Option(help="Base model of an adapter, if it moved.")]
Template = Annotated[
    str | None,
    typer.Option(help="Read with another template: auto, a registered name, FILE.jinja."),
]
Format = Annotated[str, typer.Option(help="Format of the rows, or auto.")]
Label = Annotated[str | None, typer.Option(help="Which label to read, where rows carry several.")]
Split = Annotated[str | None, typer.Option(help="Split of a sample or a data set.")]
Revision = Annotated[str | None, typer.Option(help="Branch, tag or commit of a data set.")]
Columns = Annotated[
    list[str] | None,
    typer.Option(help="A field under another name: prompt=question; repeat for more."),
]
Plugins = Annotated[
    list[str] | None,
    typer.Option("--plugin", help="A Python file with formats or templates; repeat for more."),
]
Limit = Annotated[int | None, typer.Option(min=1, help="Read so many rows, then stop.")]
Device = Annotated[str, typer.Option(help="auto (a GPU if there is one), cpu, cuda, cuda:1, ...")]
DType = Annotated[
    str,
    typer.Option(
        help="auto (float32 on a CPU, else as saved), float32, bfloat16, float16, float64."
    ),
]
Engine = Annotated[
    EngineChoice,
    typer.Option(help="How rewards are computed: auto takes the fastest right for the model."),
]
Precision = Annotated[
    Literal["full", "int8"],
    typer.Option(
        help="full (what --dtype says), or int8: linear layers in 8 bits, on a CPU; says how far "
        "that moves rewards."
    ),
]
Backend = Annotated[
    Literal["assay", "vllm"],
    typer.Option(help="Who computes: Assay, or vLLM with template and tokens of Assay."),
]
VllmUrl = Annotated[
    str | None,
    typer.Option(help="With --backend vllm: a server's address; without it vLLM runs here."),
]
BadRows = Annotated[
    OnBadRow, typer.Option(help="Stop and list the bad rows, or count and write them aside.")
]
MaxLength = Annotated[
    int | None, typer.Option(min=2, help="Tokens of prompt and response together.")
]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace the output.")]


def model_and_input(
    context: typer.Context, model: str | None, input: str | None
) -> tuple[str, str]:
    """Both, where a command could do without them and this call cannot.

    Raises:
        ConfigError: one is missing.
    """
    if model is None or input is None:
        missing = "--model" if model is None else "--input"
        raise ConfigError(f"missing option '{missing}'", mend=f"see {context.command_path} --help")
    return model, input


def given(context: typer.Context, parameters: Collection[str]) -> list[str]:
    """The flags among some parameters of a command that were written on its line.

    A flag that is given its default counts as well.
    """
    found = []
    for parameter in context.command.params:
        source = context.get_parameter_source(parameter.name or "")
        if parameter.name in parameters and source is not None and source.name == "COMMANDLINE":
            found.append(parameter.opts[0])
    return found


_NOT_OF_VLLM = frozenset({"base", "device", "engine", "precision"})


def check_backend(context: typer.Context) -> None:
    """See that the flags of a command belong to its backend.

    Raises:
        ConfigError: one has no use with it.
    """
    if context.params["backend"] == "vllm":
        for flag in given(context, _NOT_OF_VLLM):
            raise ConfigError(f"{flag} has no use with --backend vllm", mend="leave it out")
    elif context.params["vllm_url"] is not None:
        raise ConfigError("--vllm-url is for --backend vllm", mend="give --backend vllm, too")


def options_of(context: typer.Context, kind: type[Options], **own: object) -> Options:
    """The options of a command, a dataclass whose fields are called as its parameters.

    Args:
        context: of the command.
        kind: the dataclass.
        own: fields whose value is not that of the flag as it stands.
    """
    names = {field.name for field in fields(kind)} & context.params.keys()
    made: Options = kind(**{name: context.params[name] for name in names} | own)
    return made


def source_of(
    path: str,
    format: str = "auto",
    label: str | None = None,
    split: str | None = None,
    revision: str | None = None,
    columns: list[str] | None = None,
    plugins: list[str] | None = None,
) -> DataSource:
    """The source that the options of a command name, its plug-ins loaded.

    Raises:
        ConfigError: a plug-in fails, or a column is not TARGET=SOURCE.
    """
    from assay.data.columns import parse_columns
    from assay.data.plugins import load_plugins
    from assay.data.sources import DataSource

    load_plugins(plugins or [])
    return DataSource(
        path,
        format=format,
        label=label,
        split=split,
        revision=revision,
        columns=parse_columns(columns) if columns else None,
    )
