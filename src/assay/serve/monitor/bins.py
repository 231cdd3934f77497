"""How rewards are distributed, in bins whose widths are powers of two: any two can be put together.

Bin i of width w holds the rewards from i w up to (i + 1) w.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

MOST_BINS = 64
"""Bins that hold anything; where there would be more, they are twice as wide."""
_OF_A_STD = 4
"""A standard deviation has at least so many bins, where there are not too many of them."""


@dataclass(frozen=True, slots=True)
class Bins:
    """Counts by the number of their bin.

    Attributes:
        width: a power of two.
        counts: above 0, by bin.
    """

    width: float
    counts: Mapping[int, int]

    @classmethod
    def of(cls, rewards: Iterable[float], std: float | None) -> Bins:
        """Of some rewards, whose standard deviation says how wide a bin is."""
        width = 2.0 ** math.floor(math.log2(std / _OF_A_STD)) if std else 1.0
        return cls(width, Counter(math.floor(reward / width) for reward in rewards))._narrowed()

    @property
    def total(self) -> int:
        """How many rewards there are."""
        return sum(self.counts.values())

    def merge(self, other: Bins) -> Bins:
        """Both together, as wide as the wider ones."""
        width = max(self.width, other.width)
        counts: Counter[int] = Counter()
        for bins in (self, other):
            ratio = round(width / bins.width)
            for place, count in bins.counts.items():
                counts[place // ratio] += count
        return Bins(width, counts)._narrowed()

    def quantile(self, share: float) -> float:
        """About the reward below which a share of them lies; within a bin they count as even."""
        wanted = share * self.total
        below = 0
        place = 0
        for place in sorted(self.counts):
            count = self.counts[place]
            if below + count >= wanted:
                return self.width * (place + (wanted - below) / count)
            below += count
        return self.width * (place + 1)

    def as_json(self) -> dict[str, object]:
        """The width, and each bin with its count in order."""
        return {"width": self.width, "counts": [list(pair) for pair in sorted(self.counts.items())]}

    def _narrowed(self) -> Bins:
        bins = self
        while len(bins.counts) > MOST_BINS:
            counts: Counter[int] = Counter()
            for place, count in bins.counts.items():
                counts[place // 2] += count
            bins = Bins(bins.width * 2, counts)
        return bins
