"""Files that are written whole or not at all."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType

from assay.data.strict_json import JsonObject
from assay.files import output_errors


class RowFile:
    """Rows as JSON lines, or as one list where the name ends in `.json`.

    They are written beside the file, which `finish` puts in its place; without it nothing is left.
    """

    def __init__(self, output: Path) -> None:
        self._output = output
        self._beside = output.with_name(f".{output.name}.{os.getpid()}.tmp")
        self._list = output.suffix.lower() == ".json"
        self._empty = True
        self._finished = False
        self._made = make_folder(output)
        with output_errors(output):
            self._file = self._beside.open("w", encoding="utf-8")

    def __enter__(self) -> RowFile:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with suppress(OSError):
            self._file.close()
        with suppress(OSError):
            self._beside.unlink()
        if not self._finished:
            remove_folders(self._made)

    def write(self, row: JsonObject) -> None:
        """Add a row.

        Raises:
            OutputError: the system refuses.
        """
        text = json.dumps(row, ensure_ascii=False)
        if self._list:
            text = ("[\n  " if self._empty else ",\n  ") + text
        else:
            text += "\n"
        self._empty = False
        with output_errors(self._output):
            self._file.write(text)

    def finish(self) -> None:
        """Put the file in its place.

        Raises:
            OutputError: the system refuses.
        """
        with output_errors(self._output):
            if self._list:
                self._file.write("[]\n" if self._empty else "\n]\n")
            self._file.flush()
            os.fsync(self._file.fileno())
            self._file.close()
            self._beside.replace(self._output)
        self._finished = True


def make_folder(output: Path) -> list[Path]:
    """Make the directory of an output; returns the directories that were not there, inner first.

    Raises:
        OutputError: the system refuses.
    """
    made = [parent for parent in output.absolute().parents if not parent.exists()]
    with output_errors(output):
        output.parent.mkdir(parents=True, exist_ok=True)
    return made


def remove_folders(made: Iterable[Path]) -> None:
    """Remove directories that `make_folder` made, as far as they are still empty."""
    with suppress(OSError):
        for folder in made:
            folder.rmdir()


@contextmanager
def folder_beside(output: Path) -> Iterator[Path]:
    """An empty directory beside the output, for files that may be moved but not renamed.

    It is gone at the end.

    Raises:
        OutputError: the system refuses.
    """
    made = make_folder(output)
    folder = output.with_name(f".{output.name}.{os.getpid()}.tmp")
    try:
        with output_errors(output):
            folder.mkdir()
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        remove_folders(made)
