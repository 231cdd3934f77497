"""`assay demo`: the whole line in minutes."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from assay.cli.app import app
from assay.cli.commands.train import exit_if_stopped
from assay.errors import OutputError
from assay.process import share_one_heap


@app.command()
def demo(
    output: Annotated[Path, typer.Option(help="The run directory.")] = Path("runs/demo"),
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Train again.")] = False,
) -> None:
    """Train a small model in minutes.

    Pulls a model, trains it on the bundled sample, evaluates it on unseen prompts, scores.
    """
    from assay.demo import run_demo

    share_one_heap()
    if any(output.glob("*")) and not overwrite:
        raise OutputError(
            "is not empty: it holds an earlier demo, or something else",
            where=output,
            mend="run `assay demo --overwrite` to replace an earlier demo, or give --output",
        )
    exit_if_stopped(run_demo(output, overwrite=overwrite))
