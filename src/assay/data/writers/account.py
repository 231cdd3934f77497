"""What a conversion did with every row and comparison, and how it is shown."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from rich.table import Table
from rich.text import Text

from assay.consoles import console
from assay.data.loading import by_count, told
from assay.data.records import Source
from assay.data.rows import BadRow


@dataclass
class Account:
    """Counts of one conversion.

    Every comparison that was read is either among `comparisons` or in `left_out` under a reason;
    `first` names the first place of each reason. `lost` counts details that what is written lacks.
    `skipped` counts rows that are in no comparison: rows read = used + bad + skipped. `fields` are
    those of all written rows.
    """

    rows_read: int = 0
    rows: int = 0
    comparisons: int = 0
    left_out: Counter[str] = field(default_factory=Counter)
    lost: Counter[str] = field(default_factory=Counter)
    skipped: Counter[str] = field(default_factory=Counter)
    first: dict[str, Source] = field(default_factory=dict)
    bad_rows: list[BadRow] = field(default_factory=list)
    fields: Counter[str] = field(default_factory=Counter)

    def leave_out(self, reasons: Mapping[str, int], place: Source) -> None:
        """Count comparisons of a group that are not written."""
        self.left_out.update(reasons)
        for reason in reasons:
            self.first.setdefault(reason, place)

    def lose(self, details: Mapping[str, int], place: Source) -> None:
        """Count details that written comparisons of a group lack."""
        self.lost.update(details)
        for detail in details:
            self.first.setdefault(detail, place)

    def skip(self, reason: str, place: Source) -> None:
        """Count a row that is in no comparison."""
        self.skipped[reason] += 1
        self.first.setdefault(reason, place)

    @property
    def rows_used(self) -> int:
        """Rows read that are neither bad nor in no comparison."""
        return self.rows_read - len(self.bad_rows) - self.skipped.total()

    @property
    def reasons(self) -> str:
        """All that was not written, in one line."""
        counts = self.left_out + self.skipped
        if self.bad_rows:
            counts["bad row"] = len(self.bad_rows)
        return told(counts)


def show_account(
    account: Account, target: str, settings: Sequence[tuple[str, str, str]] = ()
) -> None:
    """Print the table: what was read, written, left out and lost, and where that happens first.

    `settings` are further lines: what it is, in words, and its number.
    """
    printed = console(120)
    table = Table(show_header=True, header_style="bold")
    table.add_column("")
    table.add_column("what")
    table.add_column("count", justify="right", no_wrap=True)
    table.add_column("first", overflow="fold")
    table.add_row("read", "rows", str(account.rows_read))
    if account.bad_rows:
        bad = account.bad_rows
        table.add_row("bad", "rows", str(len(bad)), Text(str(bad[0].source)))
    _add(table, "no comparison", account.skipped, account)
    table.add_row("used", "rows", str(account.rows_used))
    table.add_row("written", f"rows ({target})", str(account.rows))
    table.add_row("", "comparisons", str(account.comparisons))
    _add(table, "left out", account.left_out, account)
    _add(table, "not kept", account.lost, account)
    for line in settings:
        table.add_row(*map(Text, line))
    printed.print(table)
    if not account.reasons and not account.lost:
        printed.print("nothing was left out or lost", highlight=False)


def _add(table: Table, kind: str, counts: Counter[str], account: Account) -> None:
    for index, (what, count) in enumerate(by_count(counts)):
        first = account.first.get(what, "")
        table.add_row("" if index else kind, Text(what), str(count), Text(str(first)))
