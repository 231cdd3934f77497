"""`assay convert`: preference rows in another schema."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from assay.cli.app import app
from assay.cli.options import (
    BadRows,
    Columns,
    Format,
    Label,
    Limit,
    Overwrite,
    Plugins,
    Revision,
    Split,
    source_of,
)
from assay.errors import ConfigError

if TYPE_CHECKING:
    from assay.data.sources import DataSource
    from assay.data.writers.converting import ConvertOptions


@app.command()
def convert(
    inputs: Annotated[
        list[str],
        typer.Argument(metavar="IN...", help="Rows of any known format, sample:NAME, - for stdin."),
    ],
    to: Annotated[
        str,
        typer.Option(
            help="Target: assay (all that is known), cvalues, hh, llamafactory, messages, "
            "mindrecord, ms-swift, nemo_rl, openrlhf, trl."
        ),
    ],
    output: Annotated[
        Path, typer.Option(help="FILE.jsonl, FILE.json (a list), or FILE.mindrecord.")
    ],
    format: Format = "auto",
    label: Label = None,
    split: Split = None,
    revision: Revision = None,
    columns: Columns = None,
    plugin: Plugins = None,
    limit: Limit = None,
    on_bad_row: BadRows = "error",
    overwrite: Overwrite = False,
    model: Annotated[
        str | None, typer.Option(help="mindrecord: a directory or id with the tokenizer.")
    ] = None,
    template: Annotated[
        str | None, typer.Option(help="mindrecord: auto, a registered name, FILE.jinja.")
    ] = None,
    seq_length: Annotated[
        int | None, typer.Option(min=2, help="mindrecord: tokens that each sequence is padded to.")
    ] = None,
    padding_side: Annotated[
        Literal["right", "left"] | None, typer.Option(help="mindrecord: right, the only one read.")
    ] = None,
    pad_token_id: Annotated[
        int | None,
        typer.Option(min=0, help="mindrecord: default the tokenizer's padding, else end token."),
    ] = None,
    max_dropped: Annotated[
        float | None,
        typer.Option(
            min=0,
            max=1,
            help="mindrecord: stop if more than this part of the comparisons is left out "
            "(default: 0.05).",
        ),
    ] = None,
) -> None:
    """Write preference rows in another schema, and say what it cannot hold.

    A comparison is written exactly or left out and counted; details without a place are counted.
    """
    from assay.data.writers.account import show_account
    from assay.data.writers.converting import ConvertOptions

    sources = [source_of(path, format, label, split, revision, columns, plugin) for path in inputs]
    options = ConvertOptions(on_bad_row=on_bad_row, limit=limit, overwrite=overwrite)
    for_mindrecord = {
        "--model": model,
        "--template": template,
        "--seq-length": seq_length,
        "--padding-side": padding_side,
        "--pad-token-id": pad_token_id,
        "--max-dropped": max_dropped,
    }
    if to == "mindrecord":
        _to_mindrecord(sources, output, options, for_mindrecord)
        return

    from assay.data.writers import get_writer
    from assay.data.writers.converting import convert as convert_rows

    writer = get_writer(to, others=["mindrecord"])
    for flag, value in for_mindrecord.items():
        if value is not None:
            raise ConfigError(f"{flag} is for --to mindrecord", mend="leave it out")
    account = convert_rows(sources, writer, output, options)
    show_account(account, to)
    print(f"{account.rows} rows, {account.comparisons} comparisons: {output}")


def _to_mindrecord(
    sources: list[DataSource], output: Path, options: ConvertOptions, given: dict[str, Any]
) -> None:
    from assay.data.mindrecord import (
        MAX_DROPPED,
        NAME,
        convert_to_mindrecord,
        padding_of,
        padding_told,
        plain_renderer,
        show_sample,
    )
    from assay.data.rendering import load_tokenizer
    from assay.data.writers.account import show_account
    from assay.model.locate import locate_model

    for flag in ("--model", "--template", "--seq-length"):
        if given[flag] is None:
            raise ConfigError(f"{flag} is missing", where="--to mindrecord", mend="give it")
    if given["--padding-side"] == "left":
        raise ConfigError(
            "RewardModelDataset takes the number of tokens that are not padding for the place "
            "of the last one, which is so only with padding on the right",
            where="--padding-side",
            mend="give right, or leave it out",
        )
    located = locate_model(given["--model"], needs_weights=False)
    tokenizer = load_tokenizer(str(located.path))
    renderer = plain_renderer(tokenizer, given["--template"])
    padding = padding_of(tokenizer, given["--pad-token-id"])
    summary = convert_to_mindrecord(
        sources,
        renderer,
        output,
        options,
        seq_length=given["--seq-length"],
        pad_token_id=padding,
        max_dropped=MAX_DROPPED if given["--max-dropped"] is None else given["--max-dropped"],
    )
    show_sample(summary.sample, tokenizer)
    show_account(summary.account, NAME, [padding_told(tokenizer, padding)])
    skipped = (summary.account.left_out + summary.account.skipped).total()
    print(f"count {summary.account.rows}, skipped {skipped}: {output} and {output.name}.db")
