"""The rewards that a model is known to give: what those of a policy are compared with."""

from __future__ import annotations

import json
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from assay.errors import DataError, ModelError
from assay.evaluate.stored_numbers import one_score, scores
from assay.score.outputs import rewards_in
from assay.score.transform import REFERENCE_FILE, Reference

MIDDLE = 0.99
"""The range of the reference holds so much of its rewards; half of the rest lies on each side."""
_NORMAL = 2.5758293035489004
"""Standard deviations around the mean that hold `MIDDLE` of a normal distribution."""
_COMPARISONS = "comparisons.jsonl"


@dataclass(frozen=True, slots=True)
class Baseline:
    """A model's rewards of reference rows.

    Attributes:
        mean: of them.
        std: over N - 1.
        low: the range's lower end.
        high: its upper end.
        rewards: N.
        source: where they come from, by its name.
    """

    mean: float
    std: float
    low: float
    high: float
    rewards: int
    source: str

    @classmethod
    def of_rewards(cls, rewards: Sequence[float], source: str) -> Baseline:
        """Of all rewards.

        Raises:
            DataError: they are fewer than two, or all equal.
        """
        array_N = np.array(rewards, dtype=np.float64)
        std = float(array_N.std(ddof=1)) if len(array_N) > 1 else 0.0
        if not std:
            raise DataError(
                f"{len(array_N)} rewards without any spread are no reference",
                where=source,
                mend="give the scores of more rows",
            )
        rest = (1 - MIDDLE) / 2
        low, high = np.quantile(array_N, [rest, 1 - rest]).tolist()
        return cls(float(array_N.mean()), std, low, high, len(array_N), source)

    @classmethod
    def of_file(cls, path: Path) -> Baseline:
        """Of what `assay score` or `assay eval` wrote; of an evaluation's directory, too.

        Each comparison of an evaluation counts both of its answers.

        Raises:
            DataError: a line holds no rewards; names file and line.
        """
        if path.is_dir():
            path = path / _COMPARISONS
        try:
            rewards = array("d", _rewards_of(path))
        except OSError as error:
            raise DataError(
                f"cannot be read ({error.strerror or error})",
                where=path,
                mend="give what assay score or assay eval wrote",
            ) from None
        return cls.of_rewards(rewards, path.name)

    def distance(self, mean: float) -> float:
        """How far a mean reward lies from that of the reference, in its standard deviations."""
        return (mean - self.mean) / self.std


def baseline_of(directory: Path) -> Baseline | None:
    """That of `assay score --write-reference`: mean and std, the range as of normal rewards.

    None where the directory holds none.

    Raises:
        ModelError: its file is there and cannot be read.
    """
    if not (directory / REFERENCE_FILE).exists():
        return None
    try:
        found = Reference.read(directory)
    except ModelError as error:
        raise ModelError(
            error.what, where=error.where, mend=f"{error.mend}, or give --reference-scores"
        ) from None
    reach = _NORMAL * found.std
    ends = found.mean - reach, found.mean + reach
    return Baseline(found.mean, found.std, *ends, found.rewards, REFERENCE_FILE)


def _rewards_of(path: Path) -> Iterator[float]:
    if path.suffix.lower() == ".parquet":
        try:
            yield from rewards_in(path)
        except (KeyError, TypeError, ValueError) as error:
            raise DataError(
                f"holds no rewards ({error})", where=path, mend="give what assay score wrote"
            ) from None
        return
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            try:
                yield from _rewards_in(json.loads(line))
            except DataError as error:
                raise DataError(error.what, where=f"{path}:{number}", mend=error.mend) from None
            except (ValueError, RecursionError):
                raise DataError(
                    "is no JSON",
                    where=f"{path}:{number}",
                    mend="give what assay score or assay eval wrote",
                ) from None


def _rewards_in(row: Any) -> tuple[float, ...]:
    if isinstance(row, dict):
        if isinstance(row.get("assay"), dict):
            return scores(row["assay"], "scores")
        sides = ("chosen_reward", "rejected_reward")
        if all(side in row for side in sides):
            return tuple(one_score(row[side], side) for side in sides)
        messages = row.get("messages")
        last = messages[-1] if isinstance(messages, list) and messages else None
        sides = ("chosen_score", "rejected_score")
        if isinstance(last, dict) and all(side in last for side in sides):
            return tuple(one_score(last[side], side) for side in sides)
    raise DataError("holds no rewards", mend="give what assay score or assay eval wrote")
