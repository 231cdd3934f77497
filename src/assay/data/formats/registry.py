"""The registry of formats: each one knows its rows and reads one row into one group."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

from assay.data.nearest import did_you_mean
from assay.data.records import Group, Source
from assay.data.strict_json import JsonObject
from assay.errors import ConfigError, DataError


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
    response to another, `labels` which labels they carry, the default first. Where it is `rated`,
    a row holds rated responses and no comparison: rows that share a prompt are compared by the
    rating that the label names. Where it is `two_way`, either of its answers may be the better one,
    so that their order can tell something.
    """

    name: str
    fields: str
    rank: int
    detects: Callable[[JsonObject], bool]
    read: Reader
    comparisons: bool
    labels: tuple[str, ...]
    rated: bool = False
    two_way: bool = False


_REGISTRY: dict[str, Format] = {}


def register_format(
    name: str,
    *,
    fields: str,
    rank: int,
    detects: Callable[[JsonObject], bool],
    comparisons: bool = True,
    labels: tuple[str, ...] = (),
    rated: bool = False,
    two_way: bool = False,
) -> Callable[[Reader], Reader]:
    """Make the decorated reader known as a format; the arguments are those of `Format`."""

    def register(read: Reader) -> Reader:
        add_format(Format(name, fields, rank, detects, read, comparisons, labels, rated, two_way))
        return read

    return register


def add_format(known: Format) -> None:
    """Make a format known.

    Raises:
        ConfigError: its name is taken.
    """
    if known.name in _REGISTRY or known.name == "auto":
        raise ConfigError(
            f"there is already a format named '{known.name}'", mend="give it another name"
        )
    _REGISTRY[known.name] = known
    registered_formats.cache_clear()


def remove_format(name: str) -> None:
    """Forget a format, as that of a plug-in that fails half way."""
    _REGISTRY.pop(name, None)
    registered_formats.cache_clear()


@cache
def registered_formats() -> tuple[Format, ...]:
    """All formats in the order in which they are tried."""
    return tuple(sorted(_REGISTRY.values(), key=lambda known: known.rank))


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
