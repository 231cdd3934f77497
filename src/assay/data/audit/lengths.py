"""The length table: how long the raw fields of each file are."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Measure = Callable[[Sequence[str]], list[int]]
"""Lengths of some texts."""

BINS = 30


def characters(texts: Sequence[str]) -> list[int]:
    """Lengths in characters."""
    return [len(text) for text in texts]


def tokens_of(tokenizer: PreTrainedTokenizerBase) -> Measure:
    """A measure in tokens of bare texts: no template, no special tokens added."""

    def measure(texts: Sequence[str]) -> list[int]:
        if not texts:
            return []
        encoded = tokenizer(list(texts), add_special_tokens=False, verbose=False)
        return [len(ids) for ids in encoded["input_ids"]]

    return measure


@dataclass(frozen=True, slots=True)
class LengthRow:
    """A file's row of the table; lengths in the unit of the report, over its comparisons.

    `count` is the number of comparisons. Ties have a prompt but no chosen and rejected answer.
    Averages are rounded to 2 decimals, percentiles are values that occur (nearest rank).
    """

    file: str
    count: int
    prompt_max: int
    prompt_avg: float
    chosen_max: int
    chosen_avg: float
    reject_max: int
    reject_avg: float
    prompt_p50: int
    prompt_p99: int
    chosen_p50: int
    chosen_p99: int
    reject_p50: int
    reject_p99: int

    def shown(self, *names: str) -> list[str]:
        """Some of its fields, as tables show them."""
        values = [getattr(self, name) for name in names]
        return [f"{value:.2f}" if isinstance(value, float) else str(value) for value in values]


@dataclass(frozen=True, slots=True)
class Histogram:
    """How many chosen and rejected answers of a file have a length in each bin.

    Bin i holds lengths from `edges[i]` to below `edges[i + 1]`; the last also holds all above.
    """

    file: str
    edges: list[int]
    chosen: list[int]
    rejected: list[int]


@dataclass(slots=True)
class Lengths:
    """Lengths collected from a file."""

    prompt: array[int] = field(default_factory=lambda: array("q"))
    chosen: array[int] = field(default_factory=lambda: array("q"))
    rejected: array[int] = field(default_factory=lambda: array("q"))

    def row(self, file: str) -> LengthRow:
        """The file's row of the table."""
        values: dict[str, int | float] = {}
        columns = {"prompt": self.prompt, "chosen": self.chosen, "reject": self.rejected}
        for name, column in columns.items():
            values[f"{name}_max"] = max(column, default=0)
            values[f"{name}_avg"] = round(sum(column) / len(column), 2) if column else 0.0
            for percent in (50, 99):
                values[f"{name}_p{percent}"] = percentile(column, percent)
        return LengthRow(file, len(self.prompt), **values)  # type: ignore[arg-type]

    def histogram(self, file: str) -> Histogram:
        """Chosen and rejected lengths up to their 99th percentile in equal bins."""
        top = max(percentile(self.chosen, 99), percentile(self.rejected, 99), 1)
        width = -(-(top + 1) // BINS)
        edges = [width * number for number in range(BINS + 1)]
        counts = []
        for column in (self.chosen, self.rejected):
            bins = np.minimum(np.array(column, dtype=np.int64) // width, BINS - 1)
            counts.append(np.bincount(bins, minlength=BINS).tolist())
        return Histogram(file, edges, *counts)


def percentile(values: Sequence[int], percent: int) -> int:
    """The smallest value that at least `percent` of 100 values do not exceed; 0 of none."""
    if not len(values):
        return 0
    rank = -(-percent * len(values) // 100)
    return int(np.partition(np.array(values), rank - 1)[rank - 1])
