"""What may stand beside raw rewards, by name; nothing ever stands in their place."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean, stdev
from typing import Literal

from assay.errors import ConfigError, ModelError
from assay.files import output_errors, write_text
from assay.model.rounding import shortest

Name = Literal["sigmoid", "temperature", "zscore"]

REFERENCE_FILE = "assay_reference.json"
"""In a model directory: mean and standard deviation of its rewards of some reference rows."""

_FLAG = "--transform"
_MEND = "write sigmoid, temperature=T, zscore, or zscore=MEAN,STD"


@dataclass(frozen=True, slots=True)
class Transform:
    """A transform of single rewards, with its numbers.

    sigmoid      1 / (1 + exp(-r))
    temperature  r / T
    zscore       (r - mean) / std
    """

    name: Name
    temperature: float = 1.0
    mean: float = 0.0
    std: float = 1.0

    def __call__(self, reward: float) -> float:
        """The transformed reward."""
        if self.name == "sigmoid":
            return probability(reward)
        if self.name == "temperature":
            return shortest(reward / self.temperature)
        return (reward - self.mean) / self.std


@dataclass(frozen=True, slots=True)
class Reference:
    """Mean and standard deviation (over N - 1) of a model's raw rewards, and of how many."""

    mean: float
    std: float
    rewards: int

    @classmethod
    def of(cls, rewards: Iterable[float]) -> Reference:
        """Of some raw rewards.

        Raises:
            ConfigError: they are fewer than two, or all equal.
        """
        found = list(rewards)
        spread = stdev(found) if len(found) > 1 else 0.0
        if not spread:
            raise ConfigError(
                f"{len(found)} rewards without any spread give no reference",
                where="--write-reference",
                mend="score more rows, or leave it out",
            )
        return cls(fmean(found), spread, len(found))

    def write(self, directory: Path) -> Path:
        """Store it beside a model's weights; the file.

        Raises:
            OutputError: the system refuses.
        """
        path = directory / REFERENCE_FILE
        with output_errors(path):
            write_text(path, json.dumps(asdict(self), indent=2) + "\n")
        return path

    @classmethod
    def read(cls, directory: Path) -> Reference:
        """That of a model directory.

        Raises:
            ModelError: there is none, or it cannot be read.
        """
        path = directory / REFERENCE_FILE
        try:
            found = cls(**json.loads(path.read_text(encoding="utf-8")))
            Transform("zscore", mean=_finite(found.mean), std=_positive(found.std))
        except FileNotFoundError:
            raise ModelError(
                "the model directory holds no reference for zscore",
                where=directory,
                mend="make one by scoring typical rows: assay score --model MODEL --input ROWS "
                "--output FILE --write-reference; or give the numbers: "
                f"{_FLAG} zscore=MEAN,STD",
            ) from None
        except (OSError, ValueError, TypeError) as error:
            raise ModelError(
                f"not a readable reference ({error})",
                where=path,
                mend="delete it, and make it again with --write-reference",
            ) from None
        return found


def parse_transform(text: str, directory: Path | None = None) -> Transform:
    """The transform that a flag names.

    Args:
        text: `sigmoid`, `temperature=T`, `zscore`, or `zscore=MEAN,STD`.
        directory: of the model, where `zscore` finds its reference.

    Raises:
        ConfigError: there is no such transform, or its numbers are not usable.
        ModelError: the directory holds no reference.
    """
    name, equals, given = text.partition("=")
    try:
        if name == "sigmoid" and not equals:
            return Transform("sigmoid")
        if name == "temperature" and equals:
            return Transform("temperature", temperature=_positive(float(given)))
        if name == "zscore" and equals:
            mean, std = map(float, given.split(","))
            return Transform("zscore", mean=_finite(mean), std=_positive(std))
    except ValueError:
        raise ConfigError(
            f"'{given}' is not what {name} takes (finite numbers, those to divide by above 0)",
            where=_FLAG,
            mend=_MEND,
        ) from None
    if name != "zscore":
        raise ConfigError(f"there is no transform '{text}'", where=_FLAG, mend=_MEND)
    if directory is None:
        raise ConfigError("zscore needs its numbers here", where=_FLAG, mend="zscore=MEAN,STD")
    found = Reference.read(directory)
    return Transform("zscore", mean=found.mean, std=found.std)


def probability(reward: float) -> float:
    """The logistic function, without overflow."""
    if reward >= 0:
        return 1 / (1 + math.exp(-reward))
    return math.exp(reward) / (1 + math.exp(reward))


def _finite(number: float) -> float:
    if not math.isfinite(number):
        raise ValueError("not finite")
    return number


def _positive(number: float) -> float:
    if not 0 < number < math.inf:
        raise ValueError("not above 0")
    return number
