"""Findings: what is wrong with which rows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import islice

from assay.data.audit.collecting import RowFacts
from assay.data.records import Source

SHOWN = 20
"""Examples that a report holds of each finding."""


@dataclass(frozen=True, slots=True)
class Example:
    """Places that belong together, and what they say."""

    places: list[str]
    text: str


@dataclass(frozen=True, slots=True)
class Finding:
    """One kind of flaw: how many `of` all `unit` (rows, answers) have it, their share, examples.

    `title` is what those do, a verb and its object. `detail` says in words what else was counted.
    `by_file` has the `count` of each training file that has some.
    """

    name: str
    title: str
    count: int
    of: int
    unit: str
    share: float
    detail: str
    examples: list[Example]
    by_file: dict[str, int] = field(default_factory=dict)


def finding(
    name: str,
    title: str,
    found: Sequence[Source],
    of: int,
    examples: Iterable[Example],
    *,
    detail: str = "",
    unit: str = "rows",
) -> Finding:
    """A finding of all that stand at the places `found`, among `of`, with its first examples."""
    count = len(found)
    share = count / of if of else 0.0
    shown = list(islice(examples, SHOWN))
    by_file = dict(Counter(place.file for place in found))
    return Finding(name, title, count, of, unit, share, detail, shown, by_file)


def counted(number: int, one: str, many: str | None = None) -> str:
    """A number with its noun."""
    return f"{number} {one if number == 1 else many or one + 's'}"


def example(rows: Sequence[RowFacts], numbers: Sequence[int]) -> Example:
    """Rows that belong together, the first few by place, with the first one's prompt."""
    places = [str(rows[number].source) for number in numbers[:8]]
    if len(numbers) > 8:
        places.append(f"and {len(numbers) - 8} more")
    return Example(places, rows[numbers[0]].excerpt)
