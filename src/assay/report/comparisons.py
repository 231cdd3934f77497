"""The comparisons of an evaluation in one pass: numbers of all, lines of the few that are shown.

Shapes: C comparisons, A answers that differ within their prompt by reward or length.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from assay.errors import DataError
from assay.evaluate.intervals import Ints
from assay.evaluate.metrics import Floats
from assay.report.reading import object_lines, parsed

NAME = "comparisons.jsonl"


@dataclass(frozen=True, slots=True)
class Comparisons:
    """What a report needs of `comparisons.jsonl`.

    Attributes:
        chosen_C: rewards of the better answers.
        rejected_C: of the worse ones.
        prompt_C: the prompt of each comparison, by number.
        longer_C: tokens of the better answer minus those of the worse; None where not counted.
        tokens_A: length of each answer with its prompt.
        reward_A: and its reward.
        mistakes: rows that were not won, the lowest margin first.
        closest: other rows, the smallest margin by size first.
        num_mistakes: that there are in all.
    """

    chosen_C: Floats
    rejected_C: Floats
    prompt_C: Ints
    longer_C: Floats | None
    tokens_A: Floats
    reward_A: Floats
    mistakes: list[Mapping[str, Any]]
    closest: list[Mapping[str, Any]]
    num_mistakes: int

    @property
    def margin_C(self) -> Floats:
        """Reward of the better answer minus that of the worse."""
        return self.chosen_C - self.rejected_C


@dataclass
class _Few:
    """The lines of the smallest keys, so many; the first ones of equal keys."""

    most: int
    heap: list[tuple[float, int, bytes]] = field(default_factory=list)

    def add(self, key: float, number: int, line: bytes) -> None:
        entry = (-key, -number, line)
        if len(self.heap) < self.most:
            heapq.heappush(self.heap, entry)
        elif self.most and entry > self.heap[0]:
            heapq.heapreplace(self.heap, entry)

    def rows(self) -> dict[int, Mapping[str, Any]]:
        """By the number of the line, in order."""
        return {-number: parsed(line) for _, number, line in sorted(self.heap, reverse=True)}


@dataclass
class _Columns:
    chosen: list[float] = field(default_factory=list)
    rejected: list[float] = field(default_factory=list)
    prompt: list[int] = field(default_factory=list)
    longer: list[float] = field(default_factory=list)
    prompts: dict[str, int] = field(default_factory=dict)
    answers: set[tuple[int, float, float]] = field(default_factory=set)

    def add(self, row: Mapping[str, Any]) -> float:
        """The margin of a row."""
        chosen, rejected = _number(row, "chosen_reward"), _number(row, "rejected_reward")
        prompt = self.prompts.setdefault(str(row["group"]), len(self.prompts))
        self.chosen.append(chosen)
        self.rejected.append(rejected)
        self.prompt.append(prompt)
        if row.get("chosen_tokens") is not None and row.get("rejected_tokens") is not None:
            better, worse = _number(row, "chosen_tokens"), _number(row, "rejected_tokens")
            self.longer.append(better - worse)
            self.answers.add((prompt, better, chosen))
            self.answers.add((prompt, worse, rejected))
        return chosen - rejected


def read_comparisons(path: Path, rows: int) -> Comparisons:
    """Read `comparisons.jsonl`, a line at a time; texts of the rows that are shown are kept.

    Args:
        path: of the file.
        rows: so many mistakes, and so many close calls.

    Raises:
        DataError: a line is not as `assay eval` writes it; names file and line.
    """
    columns = _Columns()
    worst, closest = _Few(rows), _Few(2 * rows)
    for number, line, row in object_lines(path):
        try:
            margin = columns.add(row)
        except (KeyError, TypeError, ValueError) as error:
            said = f"lacks {error}" if isinstance(error, KeyError) else str(error)
            raise DataError(said, where=f"{path}:{number}", mend="evaluate again") from None
        if margin <= 0:
            worst.add(margin, number, line)
        closest.add(abs(margin), number, line)
    if not columns.chosen:
        raise DataError("holds no comparison", where=path, mend="evaluate again")
    mistakes = worst.rows()
    others = [row for number, row in closest.rows().items() if number not in mistakes]
    answers = np.array(sorted(columns.answers), dtype=np.float64).reshape(-1, 3)
    has_lengths = len(columns.longer) == len(columns.chosen)
    chosen_C, rejected_C = np.array(columns.chosen), np.array(columns.rejected)
    return Comparisons(
        chosen_C,
        rejected_C,
        np.array(columns.prompt, dtype=np.intp),
        np.array(columns.longer) if has_lengths else None,
        answers[:, 1],
        answers[:, 2],
        list(mistakes.values()),
        others[:rows],
        int((chosen_C <= rejected_C).sum()),
    )


def _number(row: Mapping[str, Any], name: str) -> float:
    value = row[name]
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError(f"'{name}' is no finite number")
    return float(value)
