"""The account of a store: `prepare.json`, and the table that people read."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Self

from assay.consoles import console
from assay.data.loading import BAD_ROW, by_count
from assay.errors import DataError


@dataclass(kw_only=True)
class Numbers:
    """What some rows come to. Rows in = comparisons + dropped, where each row is one comparison.

    Attributes:
        groups: prompts with at least one comparison.
        comparisons: comparisons that are kept.
        sequences: responses that are kept.
        tokens: of all sequences, shared prefixes counted in each.
        longest: tokens of the longest sequence.
        cut_prompts: groups whose prompt was cut to fit.
        specials_in_content: special tokens that were written out inside messages.
        unread_thoughts: responses with a reasoning that the template does not write, though
            `model.thinking` keeps it.
        dropped: by reason, comparisons and rows that were left out, bad rows among them.
        last_tokens: by token id, how many sequences end with it.
    """

    groups: int = 0
    comparisons: int = 0
    sequences: int = 0
    tokens: int = 0
    longest: int = 0
    cut_prompts: int = 0
    specials_in_content: int = 0
    unread_thoughts: int = 0
    dropped: Counter[str] = field(default_factory=Counter)
    last_tokens: Counter[int] = field(default_factory=Counter)

    def add(self, other: Numbers) -> None:
        """Add the numbers of other rows."""
        self.longest = max(self.longest, other.longest)
        for number in fields(Numbers):
            if number.name != "longest":
                both = getattr(self, number.name) + getattr(other, number.name)
                setattr(self, number.name, both)

    @property
    def num_dropped(self) -> int:
        """Comparisons and rows that were left out."""
        return self.dropped.total()

    @property
    def bad_rows(self) -> int:
        """Rows that could not be read."""
        return self.dropped[BAD_ROW]

    def to_json(self) -> str:
        """All of it as JSON, always the same for the same numbers."""
        sorted_counts = {
            "dropped": dict(sorted(self.dropped.items())),
            "last_tokens": {str(token): n for token, n in sorted(self.last_tokens.items())},
        }
        return json.dumps(vars(self) | sorted_counts, ensure_ascii=False, indent=1) + "\n"

    @classmethod
    def read(cls, path: Path) -> Self:
        """What `to_json` wrote.

        Raises:
            OSError, ValueError, TypeError, KeyError: it is absent, or something else.
        """
        found = json.loads(path.read_text(encoding="utf-8"))
        last = {int(token): count for token, count in found.pop("last_tokens").items()}
        return cls(**found | {"dropped": Counter(found["dropped"]), "last_tokens": Counter(last)})


@dataclass(kw_only=True)
class Account(Numbers):
    """Every number of a store.

    Attributes:
        fingerprint: of everything that decides the content.
        source: what the user said of it.
        format: the format of its rows.
        sha256: of the bytes that were read.
        settings: how it was prepared.
        versions: of the packages that take part.
        rows: rows of the source.
        shards: groups in each shard.
    """

    fingerprint: str
    source: dict[str, Any]
    format: str
    sha256: str
    settings: dict[str, Any]
    versions: dict[str, str]
    rows: int = 0
    shards: list[int] = field(default_factory=list)

    @property
    def dropped_share(self) -> float:
        """Dropped of all comparisons; a row that was dropped whole counts as one."""
        return self.num_dropped / max(1, self.comparisons + self.num_dropped)


def check_dropped(name: str, account: Account, max_dropped: float) -> None:
    """Refuse data of which too much was dropped.

    Args:
        name: what the data are called in the message.
        account: their account.
        max_dropped: the share of comparisons that may be dropped, from 0 to 1.

    Raises:
        DataError: more was dropped.
    """
    if account.dropped_share <= max_dropped:
        return
    reasons = ", ".join(f"{n} {why}" for why, n in by_count(account.dropped))
    everything = account.comparisons + account.num_dropped
    raise DataError(
        f"{account.num_dropped} of {everything} comparisons would be dropped "
        f"({account.dropped_share:.1%}, more than data.max_dropped {max_dropped:.1%}): {reasons}",
        where=name,
        mend="look at the rows; where they are too long, change train.max_length or "
        "train.over_length; or raise data.max_dropped",
    )


def print_table(rows: Sequence[tuple[str, Account]], group_name: str) -> None:
    """One table for all sources, a line each, with what was dropped and why.

    Args:
        rows: the account of each source under its name.
        group_name: what the groups are called.
    """
    from rich.table import Table
    from rich.text import Text

    printed = console(120)
    reasons = sorted({reason for _, account in rows for reason in account.dropped})
    table = Table(show_header=True, header_style="bold")
    for column in ("", "rows", group_name, "comparisons", "tokens", "kept", *reasons):
        # A name may be folded, a number never.
        if column:
            table.add_column(column.replace(" ", "\n"), justify="right", no_wrap=True)
        else:
            table.add_column(column, overflow="fold")
    for name, account in rows:
        table.add_row(
            Text(name),
            f"{account.rows:,}",
            f"{account.groups:,}",
            f"{account.comparisons:,}",
            f"{account.tokens:,}",
            f"{1 - account.dropped_share:.2%}",
            *(f"{account.dropped.get(reason, 0):,}" for reason in reasons),
        )
    printed.print(table)
    for name, account in rows:
        if account.cut_prompts:
            printed.print(
                f"{name}: {account.cut_prompts:,} prompts were cut to fit", highlight=False
            )
        if account.unread_thoughts:
            printed.print(
                f"{name}: the template leaves out the reasoning of "
                f"{account.unread_thoughts:,} responses",
                highlight=False,
            )
