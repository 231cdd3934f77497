"""Where rows and files go: all of them, or nothing is left, no directory either."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from itertools import chain, repeat
from pathlib import Path

from assay.data.strict_json import JsonObject
from assay.files import output_errors, text_output


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
    with _folder_of(output), text_output(output) as file:
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
    with _folder_of(output):
        try:
            with output_errors(output):
                folder.mkdir()
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _folder_of(output: Path) -> Iterator[None]:
    """Make the directory of an output; what was made goes again where nothing comes into it."""
    made = [parent for parent in output.absolute().parents if not parent.exists()]
    with output_errors(output):
        output.parent.mkdir(parents=True, exist_ok=True)
    try:
        yield
    finally:
        with suppress(OSError):
            for folder in made:
                folder.rmdir()
