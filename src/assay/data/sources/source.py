"""What a user can name as data, and the streams of bytes that it comes down to."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Literal

from assay.errors import DataError

Kind = Literal["lines", "json", "csv", "tsv", "parquet", "arrow"]
Compression = Literal["none", "gzip", "zstd", "detect"]

KINDS_OF_FILE = (
    ".jsonl or .ndjson (one JSON object per line), .json (a list of objects), .csv or .tsv (with a "
    "header), each also as .gz or .zst, .parquet, or .arrow"
)

STDIN = "stdin"
"""The name of standard input in places; nothing says how rows are written in it."""

_KINDS: dict[str, Kind] = {
    ".jsonl": "lines",
    ".ndjson": "lines",
    ".json": "json",
    ".csv": "csv",
    ".tsv": "tsv",
    ".parquet": "parquet",
    ".arrow": "arrow",
}
_COMPRESSIONS: dict[str, Compression] = {".gz": "gzip", ".zst": "zstd", ".zstd": "zstd"}
_WITHIN_COMPRESSED = frozenset[str]({"lines", "json", "csv", "tsv"})


@dataclass(frozen=True, slots=True)
class DataSource:
    """Where rows come from.

    Attributes:
        path: a file, a directory, a glob, `-` (standard input: JSON lines or a JSON list),
            `sample:NAME`, or a data set of a hub: `org/name`, `hf://org/name`,
            `modelscope://org/name`, each also with `:CONFIG`.
        format: `auto`, or the name of a format, which then is that of all its files.
        split: a split of a sample, a directory or a data set. Of several, one must be named; a
            sample is read whole.
        name: what to call the source in logs and directories.
        label: which label to read, where rows carry several.
        revision: a branch, tag or commit of a data set.
        columns: fields that a format knows, and where a row has their values; see
            `assay.data.columns`.
    """

    path: str
    format: str = "auto"
    split: str | None = None
    name: str | None = None
    label: str | None = None
    revision: str | None = None
    columns: Mapping[str, str] | None = field(default=None, hash=False)


@dataclass(frozen=True, slots=True)
class Part:
    """One stream of bytes of a source, and how rows are written in it.

    `name` is the file as the user named it; places of rows begin with it. `detect` leaves the
    compression to the first bytes, for standard input. `path` is the file, where it is one.
    """

    name: str
    open: Callable[[], AbstractContextManager[IO[bytes]]]
    kind: Kind = "lines"
    compression: Compression = "none"
    path: Path | None = None


def kind_of_name(name: str) -> tuple[Kind, Compression] | None:
    """How rows are written in a file of this name, by its suffixes; None for an unknown suffix.

    A name without a suffix means JSON lines.
    """
    stem, dot, last = name.rpartition(".")
    suffix = f".{last}".lower() if dot and stem else ""
    compression = _COMPRESSIONS.get(suffix)
    if compression is None:
        kind = _KINDS.get(suffix) if suffix else "lines"
        return None if kind is None else (kind, "none")
    inner = kind_of_name(stem)
    if inner is None or inner[1] != "none" or inner[0] not in _WITHIN_COMPRESSED:
        return None
    return inner[0], compression


def part_of(path: Path, name: str) -> Part:
    """A file as a part.

    Raises:
        DataError: its suffix is of no known kind.
    """
    kind = kind_of_name(path.name)
    if kind is None:
        packed = path.suffix.lower() in _COMPRESSIONS
        suffix = "".join(path.suffixes[-2:]) if packed else path.suffix
        raise DataError(
            f"'{suffix.lower()}' files are not read", where=name, mend=f"give {KINDS_OF_FILE}"
        )
    return Part(name, lambda: path.open("rb"), *kind, path)


def unreadable(error: OSError, name: str) -> DataError:
    """What to say of a file that the operating system does not give out."""
    return DataError(
        f"cannot be read ({error.strerror or error})", where=name, mend="check its permissions"
    )
