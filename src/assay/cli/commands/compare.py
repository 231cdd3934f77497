"""`assay compare`: models against each other on the same rows."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from assay.cli.app import app
from assay.cli.options import Overwrite
from assay.errors import ConfigError


@app.command()
def compare(
    results: Annotated[
        list[Path],
        typer.Argument(help="results.json of assay eval, or their directories: two or more."),
    ],
    output: Annotated[
        Path | None, typer.Option(help="Write all numbers and flipped rows as JSON.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of the bootstrap.")] = 0,
    overwrite: Overwrite = False,
) -> None:
    """Compare evaluations of the same rows: paired differences, and the rows that flipped.

    All are compared with the first. Evaluations of different data are refused.
    """
    from assay.evaluate.compare import compare as compare_all
    from assay.evaluate.compare import read_evaluated
    from assay.evaluate.compare_report import print_comparison
    from assay.files import check_output, text_output

    if len(results) < 2:
        raise ConfigError("compare takes two results or more", mend="name another")
    if output is not None:
        check_output(output, overwrite=overwrite)
    found = compare_all([read_evaluated(place) for place in results], seed=seed)
    print_comparison(found, whole=output is not None)
    if output is not None:
        import json

        with text_output(output) as file:
            file.write(json.dumps(found, ensure_ascii=False, indent=2) + "\n")
        print(f"comparison: {output}")
