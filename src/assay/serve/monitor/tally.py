"""One step of a run, while its rewards come in, and the line that is left of it."""

from __future__ import annotations

import random
import time
from array import array
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from assay.serve.monitor.answers import Answer
from assay.serve.monitor.baseline import Baseline
from assay.serve.monitor.bins import Bins
from assay.serve.monitor.log import MIXED, SHARES
from assay.serve.monitor.moments import Moments

MOST_KEPT = 16_384
"""Rewards of a step that are kept for its quantiles and bins: of more, so many drawn at random.
Hashes of its answers, too: of more distinct ones those beyond are not compared."""


@dataclass(slots=True)
class Tally:
    """What is known of a step of a run, scored by one model.

    Attributes:
        model: its name.
        run: its name.
        step: its number; None where requests named none.
        baseline: what the model's rewards are compared with.
    """

    model: str
    run: str
    step: int | None
    baseline: Baseline | None
    requests: int = 0
    pairs: Moments = field(default_factory=Moments)
    """x: reward, y: length."""
    units: set[str] = field(default_factory=set)
    truncated: int = 0
    repeated: int = 0
    below: int = 0
    above: int = 0
    low: float = float("inf")
    high: float = float("-inf")
    began: float = field(default_factory=time.time)
    ended: float = 0.0
    used: float = 0.0
    """When the last request came, by a clock that nobody sets."""
    _kept: array[float] = field(default_factory=lambda: array("d"))
    _hashes: set[int] = field(default_factory=set)
    _draw: random.Random = field(default_factory=lambda: random.Random(0))

    @property
    def responses(self) -> int:
        """How many rewards there were."""
        return self.pairs.count

    def add(self, rewards: Sequence[float], answers: Iterable[Answer], truncated: int) -> None:
        """Take in a request's rewards, in the order of its answers."""
        self.requests += 1
        self.truncated += truncated
        baseline, hashes = self.baseline, self._hashes
        for reward, (digest, length, unit) in zip(rewards, answers, strict=True):
            self.pairs.add(reward, length)
            self.units.add(unit)
            if digest in hashes:
                self.repeated += 1
            elif len(hashes) < MOST_KEPT:
                hashes.add(digest)
            if baseline is not None:
                self.below += reward < baseline.low
                self.above += reward > baseline.high
            self.low, self.high = min(self.low, reward), max(self.high, reward)
            self._keep(reward)
        self.ended, self.used = time.time(), time.monotonic()

    def _keep(self, reward: float) -> None:
        """Each reward so far is kept with the same chance."""
        if len(self._kept) < MOST_KEPT:
            self._kept.append(reward)
            return
        place = self._draw.randrange(self.pairs.count)
        if place < MOST_KEPT:
            self._kept[place] = reward

    @property
    def has_lengths(self) -> bool:
        """Whether its lengths count one thing."""
        return len(self.units) == 1

    @property
    def correlation(self) -> float | None:
        """Of reward and length; None where one of them does not vary, or lengths are of kinds."""
        return self.pairs.correlation if self.has_lengths else None

    @property
    def beyond(self) -> float | None:
        """The share of rewards beyond the range of the reference; None without one."""
        return None if self.baseline is None else (self.below + self.above) / self.responses

    @property
    def distance(self) -> float | None:
        """Of the mean reward from the reference's, in its standard deviations."""
        return None if self.baseline is None else self.baseline.distance(self.pairs.mean_x)

    def line(self) -> dict[str, Any]:
        """What the log says of it; numbers alone, and the names of run and model."""
        pairs = self.pairs
        kept = np.frombuffer(self._kept, dtype=np.float64)
        return {
            "run": self.run,
            "step": self.step,
            "model": self.model,
            "began": round(self.began, 3),
            "ended": round(self.ended, 3),
            "requests": self.requests,
            "responses": self.responses,
            "reward_mean": _short(pairs.mean_x),
            "reward_std": _short(pairs.std_x),
            "reward_min": self.low,
            "reward_max": self.high,
            "reward_quantiles": [_short(value) for value in np.quantile(kept, SHARES).tolist()],
            "histogram": Bins.of(self._kept, pairs.std_x).as_json(),
            "sampled": len(self._kept) if len(self._kept) < self.responses else None,
            "length_unit": next(iter(self.units)) if self.has_lengths else MIXED,
            "length_mean": _short(pairs.mean_y) if self.has_lengths else None,
            "length_std": _short(pairs.std_y) if self.has_lengths else None,
            "correlation": _short(self.correlation),
            "duplicates": self.repeated,
            "truncated": self.truncated,
            "below": None if self.baseline is None else self.below,
            "above": None if self.baseline is None else self.above,
            "distance": _short(self.distance),
            "reference": None if self.baseline is None else asdict(self.baseline),
        }


def _short(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.9g}")
