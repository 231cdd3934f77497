"""Mean, spread and correlation of pairs of numbers that come one by one, and are not kept."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(slots=True)
class Moments:
    """Sums over N pairs (x, y), each taken around the means so far: no large numbers cancel.

    Attributes:
        count: N.
        mean_x: of x.
        mean_y: of y.
        square_x: the sum of (x - mean_x)^2.
        square_y: the sum of (y - mean_y)^2.
        product: the sum of (x - mean_x) (y - mean_y).
    """

    count: int = 0
    mean_x: float = 0.0
    mean_y: float = 0.0
    square_x: float = 0.0
    square_y: float = 0.0
    product: float = 0.0

    def add(self, x: float, y: float) -> None:
        """Take in a pair."""
        self.count += 1
        before_x = x - self.mean_x
        before_y = y - self.mean_y
        self.mean_x += before_x / self.count
        self.mean_y += before_y / self.count
        after_y = y - self.mean_y
        self.square_x += before_x * (x - self.mean_x)
        self.square_y += before_y * after_y
        self.product += before_x * after_y

    def merge(self, other: Moments) -> Moments:
        """The moments of both sets of pairs together."""
        count = self.count + other.count
        if not count:
            return Moments()
        by_x, by_y = other.mean_x - self.mean_x, other.mean_y - self.mean_y
        share = other.count / count
        weight = self.count * share
        return Moments(
            count,
            self.mean_x + by_x * share,
            self.mean_y + by_y * share,
            self.square_x + other.square_x + by_x * by_x * weight,
            self.square_y + other.square_y + by_y * by_y * weight,
            self.product + other.product + by_x * by_y * weight,
        )

    @property
    def std_x(self) -> float | None:
        """The standard deviation of x, over N - 1; None of fewer than two."""
        return _std(self.square_x, self.count)

    @property
    def std_y(self) -> float | None:
        """That of y."""
        return _std(self.square_y, self.count)

    @property
    def correlation(self) -> float | None:
        """Pearson's; None where x or y does not vary."""
        if self.count < 2 or self.square_x <= 0 or self.square_y <= 0:
            return None
        found = self.product / (math.sqrt(self.square_x) * math.sqrt(self.square_y))
        return min(max(found, -1.0), 1.0)

    @classmethod
    def known(
        cls,
        count: int,
        x: tuple[float, float | None],
        y: tuple[float, float | None],
        correlation: float | None,
    ) -> Moments:
        """The moments whose numbers were written down.

        Args:
            count: N.
            x: mean and standard deviation.
            y: the same.
            correlation: of both.
        """
        square_x = (x[1] or 0.0) ** 2 * max(count - 1, 0)
        square_y = (y[1] or 0.0) ** 2 * max(count - 1, 0)
        product = (correlation or 0.0) * math.sqrt(square_x) * math.sqrt(square_y)
        return cls(count, x[0], y[0], square_x, square_y, product)


def _std(square: float, count: int) -> float | None:
    return math.sqrt(max(square, 0.0) / (count - 1)) if count > 1 else None
