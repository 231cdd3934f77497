"""What became of the rows of an output: the numbers, and a file of those that were not scored."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from assay.data.loading import bad_rows_beside, write_bad_rows
from assay.score.parts import PartAccount, bad_row_records
from assay.score.window import NUMBERS


@dataclass(frozen=True, slots=True)
class ScoreSummary:
    """What was written, and what was not; of the whole output, whoever computed it.

    `tokens` are those of all sequences, `computed` those that went through the layers.
    """

    rows: int
    responses: int
    truncated: int
    unread_thoughts: int
    tokens: int
    computed: int
    bad_rows: int
    bad_rows_file: Path | None

    @classmethod
    def of(cls, numbers: Mapping[str, int], output: Path) -> ScoreSummary:
        """Of an output, from the sums of its parts' accounts."""
        return cls(
            **numbers, bad_rows_file=bad_rows_beside(output) if numbers["bad_rows"] else None
        )


def write_aside(accounts: Sequence[PartAccount], output: Path) -> None:
    """Write the rows that were not scored beside an output; remove those of an earlier output.

    Raises:
        OutputError: the system refuses.
    """
    aside = bad_rows_beside(output)
    if any(account.bad_rows for account in accounts):
        write_bad_rows(aside, bad_row_records(accounts))
    else:
        aside.unlink(missing_ok=True)


def sums_of(accounts: Sequence[PartAccount]) -> dict[str, int]:
    """The numbers of a `ScoreSummary`, over some parts."""
    names = ("rows", *NUMBERS)
    sums = {name: sum(getattr(account, name) for account in accounts) for name in names}
    return sums | {"bad_rows": sum(len(account.bad_rows) for account in accounts)}
