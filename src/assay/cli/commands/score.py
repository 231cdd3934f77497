"""`assay score`: rewards of a file, or of answers given by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

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
    Model,
    Plugins,
    Revision,
    Split,
    Template,
    source_of,
)
from assay.errors import ConfigError


@app.command()
def score(
    model: Model,
    input: Annotated[
        str | None, typer.Option(help="Rows of any known format, - for stdin.")
    ] = None,
    output: Annotated[Path | None, typer.Option(help="JSONL, one line a row.")] = None,
    prompt: Annotated[str | None, typer.Option(help="By hand: the prompt.")] = None,
    response: Annotated[
        list[str] | None, typer.Option("--response", help="By hand: an answer; repeat for more.")
    ] = None,
    transform: Annotated[
        Literal["sigmoid"] | None, typer.Option(help="Add a transformed column beside the raw.")
    ] = None,
    style: Annotated[
        Literal["assay", "messages"],
        typer.Option(help="Where scores stand: under assay, or in the last message."),
    ] = "assay",
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
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the output.")] = False,
) -> None:
    """Score a file, or answers given by hand."""
    from assay.files import check_output
    from assay.score.command import score_by_hand, score_to_file
    from assay.score.files import ScoreOptions

    for_files = {
        "--output": output is not None,
        "--style": style != "assay",
        "--format": format != "auto",
        "--label": label is not None,
        "--split": split is not None,
        "--revision": revision is not None,
        "--columns": bool(columns),
        "--limit": limit is not None,
        "--on-bad-row": on_bad_row != "error",
        "--overwrite": overwrite,
    }
    _check_choice(input, prompt, response, for_files)
    if output is not None:
        check_output(output, overwrite=overwrite)

    from assay.data.sources import locate
    from assay.model.loading import load_reward_model

    source = source_of(input or "-", format, label, split, revision, columns, plugin)
    if input is not None:
        locate(source)
    loaded = load_reward_model(
        model, base=base, template=template, device=device, dtype=dtype, engine=engine
    )
    if input is None or output is None:
        assert prompt is not None
        score_by_hand(loaded, prompt, response or [], transform=transform, max_length=max_length)
        return
    options = ScoreOptions(
        style=style,
        transform=transform,
        max_length=max_length,
        on_bad_row=on_bad_row,
        limit=limit,
        overwrite=overwrite,
    )
    score_to_file(loaded, model, source, output, options)


def _check_choice(
    input: str | None,
    prompt: str | None,
    responses: list[str] | None,
    for_files: dict[str, bool],
) -> None:
    """See that the flags belong together: those of a file, or those of answers by hand."""
    by_hand = prompt is not None or bool(responses)
    if by_hand == (input is not None):
        raise ConfigError(
            "score takes either --input and --output, or --prompt and --response",
            mend="give one of the two",
        )
    if not by_hand and not for_files["--output"]:
        raise ConfigError("--output is missing", mend="give --output FILE.jsonl")
    if by_hand:
        _check_by_hand(prompt, responses)
        _refuse_by_hand(for_files)


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


def _refuse_by_hand(given: dict[str, bool]) -> None:
    for flag, is_given in given.items():
        if is_given:
            raise ConfigError(
                f"{flag} is for the rows of a file, not for --prompt and --response",
                mend="leave it out, or give --input",
            )
