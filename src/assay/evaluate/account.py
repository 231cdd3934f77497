"""Reading rows with an account: every row that is read is a good one or a bad one."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from assay.data.loading import bad_rows_error
from assay.data.rows import BadRow
from assay.errors import DataError

Raw = TypeVar("Raw")
Good = TypeVar("Good")


@dataclass(slots=True)
class ReadRows(Generic[Good]):
    """What became of the rows of a source.

    Attributes:
        good: what was made of rows, in order.
        bad_rows: of the others.
        is_partial: a limit left rows unread.
        fingerprint: SHA-256 of the bytes read, where there are any.
    """

    good: list[Good] = field(default_factory=list)
    bad_rows: list[BadRow] = field(default_factory=list)
    is_partial: bool = False
    fingerprint: str = ""

    @property
    def num_rows(self) -> int:
        """All that were read."""
        return len(self.good) + len(self.bad_rows)


def read_all(
    rows: Iterable[Raw | BadRow],
    read: Callable[[Raw], Good | BadRow],
    *,
    limit: int | None = None,
) -> ReadRows[Good]:
    """Read rows to the end or to a limit; what cannot be read as a whole raises its own error."""
    found: ReadRows[Good] = ReadRows()
    for row in rows:
        if found.num_rows == limit:
            found.is_partial = True
            break
        one = row if isinstance(row, BadRow) else read(row)
        if isinstance(one, BadRow):
            found.bad_rows.append(one)
        else:
            found.good.append(one)
    return found


def refusal(bad_rows: Sequence[BadRow]) -> DataError:
    """One error that lists bad rows; rows that all lack the same are said once."""
    first, *others = bad_rows
    if others and {(row.what, row.mend) for row in bad_rows} == {(first.what, first.mend)}:
        also = f"{len(others)} other row{'s' if len(others) > 1 else ''}"
        return DataError(f"{first.what} (as in {also})", where=first.source, mend=first.mend)
    return bad_rows_error(bad_rows)
