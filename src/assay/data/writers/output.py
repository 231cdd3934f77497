"""Where rows and files go: all of them, or nothing is left, no directory either."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import chain, repeat
from pathlib import Path

from assay.data.strict_json import JsonObject
from assay.files import made, output_errors, text_output


@contextmanager
def row_file(output: Path) -> Iterator[Callable[[JsonObject], object]]:
    """Gives what writes a row: as a JSON line, or into one list where the name ends in `.json`.

    The file stands in its place when the block ends, after one row at least.

    Raises:
        OutputError: the system refuses.
    """
    is_list = output.suffix.lower() == ".json"
    begin, between, end = ("[\n  ", ",\n  ", "\n]\n") if is_list else ("", "\n", "\n")
    before = chain([begin], repeat(between))
    with text_output(output) as file:
        yield lambda row: file.write(next(before) + json.dumps(row, ensure_ascii=False))
        file.write(end)


@contextmanager
def folder_beside(output: Path) -> Iterator[Path]:
    """An empty directory beside the output, for files that may be moved but not renamed.

    It is gone at the end.

    Raises:
        OutputError: the system refuses.
    """
    folder = output.with_name(f".{output.name}.{os.getpid()}.tmp")
    with output_errors(output), made(output.parent):
        try:
            folder.mkdir()
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)
