"""The registry of formats: each one knows its rows and reads one row into one group."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from assay.data.formats.fields import field_names
from assay.data.nearest import did_you_mean
from assay.data.records import Group, Source
from assay.data.strict_json import JsonObject
from assay.errors import DataError


@dataclass(frozen=True, slots=True)
class FormatOptions:
    """What a user can say about the reading of a source."""

    label: str | None = None
    """Which label to read, where rows carry several."""


@dataclass(frozen=True, slots=True)
class VerbatimText:
    """A text that the model reads exactly as it stands, without a template."""

    text: str
    source: Source


Scorable = Group | VerbatimText

Reader = Callable[[JsonObject, Source, FormatOptions], Scorable]
"""Reads a row. Raises DataError that names the field and the mend, but not the place."""


@dataclass(frozen=True, slots=True)
class Format:
    """One way of writing rows.

    `fields` describes its rows in messages. Formats are tried by ascending `rank`, so that the
    telling ones go before the general ones. `comparisons` says whether its rows prefer one
    response to another, `labels` which labels they carry, the default first.
    """

    name: str
    fields: str
    rank: int
    detects: Callable[[JsonObject], bool]
    read: Reader
    comparisons: bool
    labels: tuple[str, ...]


_REGISTRY: dict[str, Format] = {}


def register_format(
    name: str,
    *,
    fields: str,
    rank: int,
    detects: Callable[[JsonObject], bool],
    comparisons: bool = True,
    labels: tuple[str, ...] = (),
) -> Callable[[Reader], Reader]:
    """Make the decorated reader known as a format; the arguments are those of `Format`."""

    def register(read: Reader) -> Reader:
        _REGISTRY[name] = Format(name, fields, rank, detects, read, comparisons, labels)
        return read

    return register


def registered_formats() -> list[Format]:
    """All formats in the order in which they are tried."""
    return sorted(_REGISTRY.values(), key=lambda known: known.rank)


def detect_format(row: JsonObject, source: Source) -> Format:
    """The first format that knows the row as its own.

    Raises:
        DataError: none does.
    """
    for known in registered_formats():
        if known.detects(row):
            return known
    formats = "; ".join(f"{known.name} ({known.fields})" for known in registered_formats())
    raise DataError(
        f"no known format has the fields of this row: {field_names(row)}",
        where=source,
        mend=f"rename them as in one of: {formats}",
    )


def get_format(name: str) -> Format:
    """The format of a name.

    Raises:
        DataError: there is none.
    """
    if name not in _REGISTRY:
        names = ["auto", *(known.name for known in registered_formats())]
        raise DataError(
            f"unknown format '{name}'", mend=f"{did_you_mean(name, names)}known: {', '.join(names)}"
        )
    return _REGISTRY[name]


def check_label(known: Format, label: str | None) -> None:
    """See that a format has the label that is asked for.

    Raises:
        DataError: it has not.
    """
    if label is None or label in known.labels:
        return
    if not known.labels:
        raise DataError(
            f"rows of the format '{known.name}' carry no choice of labels", mend="leave label out"
        )
    raise DataError(
        f"rows of the format '{known.name}' carry no label '{label}'",
        mend=f"{did_you_mean(label, known.labels)}known: {', '.join(known.labels)}",
    )
