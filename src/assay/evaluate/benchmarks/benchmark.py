"""What a benchmark is: which rows it reads, and the numbers that its authors compute from rewards.

Imports no torch: every number can be computed again from stored rewards.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from assay.data.nearest import did_you_mean
from assay.data.records import Group, Source
from assay.data.strict_json import JsonObject
from assay.errors import ConfigError, DataError


@dataclass(frozen=True, slots=True)
class Item:
    """One row of a benchmark.

    Attributes:
        id: as the authors number it; it may repeat.
        subset: the slice that is reported by itself.
        good: which responses are right, as indices in the order of the row; all others are wrong.
        num_responses: of the row.
        source: the row's place.
        cluster: rows of one prompt share it; intervals take them together.
        labels: what else the metric goes by.
        row: the row as it was read; empty where only its rewards were stored.
        group: prompt and responses; None where only their rewards were stored.
    """

    id: str
    subset: str
    good: tuple[int, ...]
    num_responses: int
    source: Source
    cluster: str
    labels: Mapping[str, str] = field(default_factory=dict)
    row: JsonObject = field(default_factory=dict)
    group: Group | None = None

    @property
    def bad(self) -> tuple[int, ...]:
        """The responses that are wrong."""
        return tuple(i for i in range(self.num_responses) if i not in self.good)


@dataclass(frozen=True, slots=True)
class ScoredItem:
    """An item with the rewards of its responses, in the order of the row, all finite.

    `num_tokens` counts what the model read of each; empty where it was not stored.
    """

    item: Item
    rewards: tuple[float, ...]
    num_tokens: tuple[int, ...] = ()

    @property
    def pairs(self) -> list[tuple[int, int]]:
        """Every right response with every wrong one."""
        return [(good, bad) for good in self.item.good for bad in self.item.bad]

    @property
    def is_strictly_right(self) -> bool:
        """Whether every right response has a higher reward than every wrong one."""
        return all(self.rewards[good] > self.rewards[bad] for good, bad in self.pairs)


@dataclass(frozen=True, slots=True)
class Section:
    """Subsets that authors report as one: their score, and the subsets."""

    value: float | None
    subsets: Collection[str]


@dataclass(frozen=True, slots=True)
class Official:
    """The numbers of a benchmark as its authors compute them.

    Attributes:
        headline: what the authors call the number that they compare models by.
        value: that number; None where the rows do not allow it.
        numbers: all others, as JSON; None for each that the rows do not allow.
        by_subset: of each subset.
        notes: what is missing, and where authors would give another number.
        sections: of several subsets together.
    """

    headline: str
    value: float | None
    numbers: dict[str, Any]
    by_subset: dict[str, float | None]
    notes: tuple[str, ...] = ()
    sections: dict[str, Section] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ModelNote:
    """What authors' result files say of the model."""

    name: str
    chat_template: str = "tokenizer"


ReadRow = Callable[[JsonObject, Source], Item]
"""Reads a row. Raises DataError that names the field and the mend, but not the place."""

ReadScores = Callable[[JsonObject, Source], ScoredItem]
"""Reads a row of the authors' own score files; rewards that are not finite are refused."""

CheckItem = Callable[[Item], None]
"""Raises DataError that names the field and the mend, but not the place."""

WriteResults = Callable[[Sequence[ScoredItem], ModelNote], dict[str, str]]
"""The authors' result files: their paths below the output directory, and their texts."""


def check_item(
    item: Item,
    *,
    responses: int | None = 2,
    good: tuple[int, ...] | None = None,
    labels: Mapping[str, Collection[str]] | None = None,
) -> None:
    """See that an item has the shape that a metric counts on.

    Args:
        item: the item.
        responses: how many it has; None where that varies.
        good: which are right; None where that varies.
        labels: that it has, and their values; none where any will do.

    Raises:
        DataError: it has not.
    """
    if responses is not None and item.num_responses != responses:
        raise DataError(
            f"'rewards' holds {item.num_responses} numbers, and a row of this benchmark has "
            f"{responses} responses",
            mend="keep it as it was written",
        )
    if good is not None and item.good != good:
        raise DataError(
            f"'good' is {list(item.good)}, and in this benchmark it is {list(good)}",
            mend="keep it as it was written",
        )
    for name, values in (labels or {}).items():
        value = item.labels.get(name)
        if not value or (values and value not in values):
            listed = " or ".join(values) or "any text"
            raise DataError(
                f"'labels.{name}' is {value!r}, not {listed}", mend="keep it as it was written"
            )


@dataclass(frozen=True, slots=True)
class Benchmark:
    """A benchmark.

    Attributes:
        name: for `--benchmark`.
        title: as people write it.
        reads: its rows, in a few words.
        read: reads one.
        official: the authors' numbers; a pure function of at least one scored item.
        check: sees that a stored item is one that `read` could have made.
        read_scores: reads a row of the authors' score files; None where they have none.
        write_results: None where the authors have no format of results.
    """

    name: str
    title: str
    reads: str
    read: ReadRow
    official: Callable[[Sequence[ScoredItem]], Official]
    check: CheckItem
    read_scores: ReadScores | None = None
    write_results: WriteResults | None = None


_REGISTRY: dict[str, Benchmark] = {}


def register_benchmark(benchmark: Benchmark) -> None:
    """Make a benchmark known.

    Raises:
        ConfigError: its name is taken.
    """
    if benchmark.name in _REGISTRY:
        raise ConfigError(
            f"there is already a benchmark named '{benchmark.name}'", mend="give it another name"
        )
    _REGISTRY[benchmark.name] = benchmark


def benchmarks() -> tuple[Benchmark, ...]:
    """All benchmarks by name."""
    return tuple(_REGISTRY[name] for name in sorted(_REGISTRY))


def get_benchmark(name: str) -> Benchmark:
    """The benchmark of a name.

    Raises:
        ConfigError: there is none.
    """
    if name not in _REGISTRY:
        names = sorted(_REGISTRY)
        raise ConfigError(
            f"unknown benchmark '{name}'",
            mend=f"{did_you_mean(name, names)}known: {', '.join(names)}",
        )
    return _REGISTRY[name]


def file_name(model: str) -> str:
    """A model as the name of a file: the last part of a path, `org/name` with its slash.

    Authors' result files lie at `org/name.json`; a path of this machine has no place in them.
    """
    parts = Path(model).parts
    is_hub_id = len(parts) == 2 and not model.startswith((".", "/")) and not Path(model).exists()
    return model if is_hub_id else (parts[-1] if parts else "model")
