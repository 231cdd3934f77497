"""One exception tree. Every message says what was wrong, where, and the mend.

    AssayError
    ├── ConfigError      a recipe, a flag or their combination
    ├── DataError        rows of a file
    ├── TemplateError    a template that cannot render or does not exist
    ├── ModelError       a model directory, a head, an adapter
    ├── PullError        fetching a model
    ├── CheckpointError  a run directory or a checkpoint in it
    ├── OutputError      a place to write to
    ├── ResourceError    memory, a device
    └── DivergenceError  a loss or gradient that is not finite

The command line prints `str(error)`, a line for each mistake, and exits with code 2.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, TypeVar


def first_line(error: BaseException) -> str:
    """What an error of somebody else's says, in one line; its kind where it says nothing."""
    lines = str(error).splitlines()
    return lines[0] if lines else type(error).__name__


class AssayError(Exception):
    """A mistake that the user can mend.

    Args:
        what: what is wrong, one clause without a full stop.
        where: the place: `file:line`, a field, a directory.
        mend: what to do about it, one clause without a full stop.

    `also` are further mistakes of the same input, each a line of its own.
    """

    exit_code: ClassVar[int] = 2

    def __init__(self, what: str, *, where: object = None, mend: str | None = None) -> None:
        self.what = what
        self.where = None if where is None else str(where)
        self.mend = mend
        self.also: Sequence[AssayError] = ()
        super().__init__(what)

    def __str__(self) -> str:
        place = f"{self.where}: " if self.where else ""
        mend = f"; {self.mend}" if self.mend else ""
        own = " ".join(f"{place}{self.what}{mend}".split())
        return "\n".join([own, *map(str, self.also)])


class ConfigError(AssayError):
    """A recipe, a flag, or a combination of them that cannot be meant."""


class DataError(AssayError):
    """Rows that cannot be read as what they should be."""


class TemplateError(AssayError):
    """A template that does not exist or cannot render a conversation."""


class ModelError(AssayError):
    """A model that cannot be loaded, or cannot give rewards."""


class PullError(AssayError):
    """A model that could not be fetched."""


class CheckpointError(AssayError):
    """A run or checkpoint that is missing, torn, or of another run."""


class OutputError(AssayError):
    """A place that cannot be written to."""


class ResourceError(AssayError):
    """Memory or a device that is not there."""


class DivergenceError(AssayError):
    """A loss or its gradient that is not finite."""


Mistake = TypeVar("Mistake", bound=AssayError)


def together(mistakes: Sequence[Mistake]) -> Mistake:
    """All mistakes, at least one, as one error."""
    first, *others = mistakes
    first.also = others
    return first
