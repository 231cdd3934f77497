"""Sources: the files, standard input and packaged samples that a user can name as data."""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import IO

from assay.data.nearest import did_you_mean
from assay.errors import DataError

KINDS_OF_FILE = ".jsonl or .ndjson (one JSON object per line) or .json (a list of objects)"

_SAMPLE = "sample:"
_SPLITS = ("train", "test")
_LINE_SUFFIXES = (".jsonl", ".ndjson", "")


@dataclass(frozen=True, slots=True)
class DataSource:
    """Where rows come from: a file, `-` (standard input, JSON lines) or `sample:NAME`.

    `split` names a split of a sample; `label` chooses where rows carry several labels.
    """

    path: str
    format: str = "auto"
    split: str | None = None
    name: str | None = None
    label: str | None = None


@dataclass(frozen=True, slots=True)
class Part:
    """One stream of bytes of a source: JSON lines, or one JSON text."""

    name: str
    open: Callable[[], AbstractContextManager[IO[bytes]]]
    lines: bool = True


def locate(source: DataSource) -> list[Part]:
    """The parts of a source, in order, nothing read yet.

    Raises:
        DataError: the source is not there, or is of an unknown kind.
    """
    if source.path.startswith(_SAMPLE):
        return _sample_parts(source)
    if source.split is not None:
        raise DataError(
            f"a file has no split '{source.split}'",
            where=source.path,
            mend="leave the split out and name the file of that split",
        )
    if source.path == "-":
        return [Part("stdin", lambda: nullcontext(sys.stdin.buffer))]
    try:
        return [_file_part(Path(source.path), source.path)]
    except OSError as error:
        raise unreadable(error, source.path) from None


def unreadable(error: OSError, name: str) -> DataError:
    """What to say of a file that the operating system does not give out."""
    return DataError(
        f"cannot be read ({error.strerror or error})", where=name, mend="check its permissions"
    )


def sample_folder() -> Traversable:
    """Where the packaged samples lie, as `NAME.SPLIT.jsonl`."""
    return resources.files("assay.data").joinpath("sample")


def _file_part(path: Path, name: str) -> Part:
    if path.is_dir():
        raise DataError("is a directory", where=name, mend="name a file in it")
    if not path.exists():
        folder = path.parent
        neighbours = [entry.name for entry in folder.iterdir()] if folder.is_dir() else []
        raise DataError(
            "no such file", where=name, mend=did_you_mean(path.name, neighbours) + "check the path"
        )
    suffix = path.suffix.lower()
    if suffix not in (*_LINE_SUFFIXES, ".json"):
        raise DataError(f"'{suffix}' files are not read", where=name, mend=f"give {KINDS_OF_FILE}")
    return Part(name, lambda: path.open("rb"), lines=suffix in _LINE_SUFFIXES)


def _sample_parts(source: DataSource) -> list[Part]:
    name = source.path.removeprefix(_SAMPLE)
    folder = sample_folder()
    files = {file.name: file for file in folder.iterdir()} if folder.is_dir() else {}
    names = sorted({file.split(".")[0] for file in files if file.endswith(".jsonl")})
    if name not in names:
        raise DataError(
            f"there is no sample '{name}'",
            where=source.path,
            mend=f"{did_you_mean(name, names)}known: {', '.join(names) or 'none'}",
        )
    splits = {split: files.get(f"{name}.{split}.jsonl") for split in _SPLITS}
    found = {split: file for split, file in splits.items() if file is not None}
    if source.split is not None and source.split not in found:
        raise DataError(
            f"the sample has no split '{source.split}'",
            where=source.path,
            mend=f"{did_you_mean(source.split, found)}known: {', '.join(found)}",
        )
    return [
        _sample_part(f"{source.path}/{split}", file)
        for split, file in found.items()
        if source.split in (None, split)
    ]


def _sample_part(name: str, file: Traversable) -> Part:
    return Part(name, lambda: file.open("rb"))
