"""Rewards, their sums and differences are float32, and written without the digits of a float64."""

from __future__ import annotations

import math

import numpy as np


def shortest(value: float) -> float:
    """The number with the fewest digits that is the float32 nearest to a value.

    What is too large for a float32 stays as it is.
    """
    with np.errstate(over="ignore"):
        rounded = float(str(np.float32(value)))
    return rounded if math.isfinite(rounded) else value
