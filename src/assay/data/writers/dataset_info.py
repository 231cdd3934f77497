"""LLaMA-Factory's `dataset_info.json`: the entry of a written file beside it."""

from __future__ import annotations

import json
from collections.abc import Collection
from pathlib import Path

from assay.data.strict_json import JsonObject
from assay.data.writers.llamafactory import dataset_entry
from assay.errors import OutputError
from assay.files import output_errors, write_text

_NAME = "dataset_info.json"


class DatasetInfo:
    """The file that lists data sets by name; entries of others stay as they are."""

    def __init__(self, path: Path, entries: JsonObject) -> None:
        self.path = path
        self._entries = entries

    @classmethod
    def open(cls, output: Path, *, overwrite: bool) -> DatasetInfo:
        """The list beside an output, before the output is written.

        Raises:
            OutputError: the output would take its place, it is no JSON object, or it has another
                entry of the output's name and `overwrite` is off.
        """
        path = output.with_name(_NAME)
        if path == output:
            raise OutputError(
                "is the list of data sets itself", where=output, mend="give the data another name"
            )
        entries = _read(path)
        if output.stem in entries and not overwrite:
            raise OutputError(
                f"has an entry '{output.stem}' already",
                where=path,
                mend="add --overwrite, or name the output otherwise",
            )
        return cls(path, entries)

    def add(self, output: Path, fields: Collection[str]) -> None:
        """Write the list with the entry of the output; `fields` are those of its rows.

        Raises:
            OutputError: the system refuses.
        """
        self._entries[output.stem] = dataset_entry(output.name, fields)
        with output_errors(self.path):
            write_text(self.path, json.dumps(self._entries, ensure_ascii=False, indent=2) + "\n")


def _read(path: Path) -> JsonObject:
    if not path.exists():
        return {}
    with output_errors(path):
        data = path.read_bytes()
    try:
        entries = json.loads(data.decode("utf-8-sig"))
    except (ValueError, RecursionError):
        entries = None
    if not isinstance(entries, dict):
        raise OutputError(
            "is not a JSON object, so no entry can be added", where=path, mend="mend or move it"
        )
    return entries
