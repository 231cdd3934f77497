"""Whether margins mean what they say: sigmoid(margin) as the probability of being right.

The better response has no place of its own in a comparison: confidence is sigmoid(|margin|), from
0.5 to 1, that the response with the higher reward is the better one. Standing each comparison in
both orders, with probabilities p and 1 - p, gives the same numbers twice, mirrored.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.optimize import brentq
from scipy.special import expit

from assay.evaluate.intervals import Ints, dense
from assay.evaluate.metrics import Floats, clustered_accuracy, student

NUM_BINS = 10
"""Bins of confidence between 0.5 and 1, of equal width."""


@dataclass(frozen=True, slots=True)
class Temperature:
    """The T under which sigmoid(margin / T) makes the labels most likely.

    `value` is None where none does, and `note` says why; the end of `interval` that has no bound
    is None.
    """

    value: float | None = None
    interval: tuple[float | None, float | None] | None = None
    note: str | None = None


def calibration(margin_C: Floats, cluster_C: Ints) -> dict[str, Any]:
    """Reliability, errors and fitted temperature.

    `ece` is the mean over comparisons of |share right - mean confidence| of their bin, a margin of
    0 being right by half. It is above 0 by chance even of a calibrated model: `ece_by_chance` is
    about how much, where comparisons are independent. `brier` is the mean of
    (1 - sigmoid(margin))^2. Both stand again as `..._fitted` with the temperature that was fitted
    on these same comparisons.

    Args:
        margin_C: reward of the better response minus that of the worse.
        cluster_C: the prompt of each comparison.
    """
    temperature = fit_temperature(margin_C, cluster_C)
    bins = reliability(margin_C, cluster_C)
    fitted = None if temperature.value is None else margin_C / temperature.value
    return {
        "ece": expected_error(bins),
        "ece_by_chance": error_by_chance(margin_C),
        "brier": brier(margin_C),
        "temperature": temperature.value,
        "temperature_ci95": None if temperature.interval is None else list(temperature.interval),
        "temperature_note": temperature.note,
        "ece_fitted": None if fitted is None else expected_error(reliability(fitted, cluster_C)),
        "brier_fitted": None if fitted is None else brier(fitted),
        "bins": bins,
    }


def reliability(margin_C: Floats, cluster_C: Ints) -> list[dict[str, Any]]:
    """Of each bin of confidence that holds comparisons, how sure and how often right."""
    confidence_C = expit(np.abs(margin_C))
    right_C = (np.sign(margin_C) + 1) / 2
    bin_C = _bins(confidence_C)
    rows = []
    for number in np.unique(bin_C).tolist():
        inside_C = bin_C == number
        share, _, interval = clustered_accuracy(right_C[inside_C], dense(cluster_C[inside_C]))
        rows.append(
            {
                "low": 0.5 + 0.5 * number / NUM_BINS,
                "high": 0.5 + 0.5 * (number + 1) / NUM_BINS,
                "num_comparisons": int(inside_C.sum()),
                "confidence": float(confidence_C[inside_C].mean()),
                "right": share,
                "right_ci95": list(interval),
            }
        )
    return rows


def expected_error(bins: list[dict[str, Any]]) -> float:
    """Expected calibration error: |right - confidence|, weighted by the bins' comparisons."""
    total = sum(row["num_comparisons"] for row in bins)
    gaps = (row["num_comparisons"] * abs(row["right"] - row["confidence"]) for row in bins)
    return float(sum(gaps) / total)


def error_by_chance(margin_C: Floats) -> float:
    """About the `ece` of a calibrated model with these margins, each comparison independent.

    The share right in a bin of n is then off by about |N(0, v / n)| with v the mean of
    p (1 - p), whose mean is sqrt(2 v / (pi n)).
    """
    confidence_C = expit(np.abs(margin_C))
    bin_C = _bins(confidence_C)
    count_B = np.bincount(bin_C, minlength=NUM_BINS)
    variance_B = np.bincount(
        bin_C, weights=confidence_C * (1 - confidence_C), minlength=NUM_BINS
    )  # n v
    return float(np.sqrt(2 / math.pi * variance_B)[count_B > 0].sum() / len(margin_C))


def brier(margin_C: Floats) -> float:
    """Mean of (1 - sigmoid(margin))^2: the same in whatever order two responses stand."""
    return float((expit(-margin_C) ** 2).mean())


def fit_temperature(margin_C: Floats, cluster_C: Ints) -> Temperature:
    """Maximum likelihood of sigmoid(margin / T), with a 95% interval clustered by prompt.

    The likelihood is concave in 1 / T, whose sandwich error and Student's t give the interval.
    """
    if not np.any(margin_C):
        return Temperature(note="every margin is 0")
    if np.all(margin_C >= 0):
        return Temperature(note="no comparison is lost: the smaller T, the likelier the labels")
    scale = float(np.abs(margin_C).mean())
    unit_C = margin_C / scale
    if unit_C.mean() < 1e-12:  # Of margins whose sum is 0, rounding may leave something.
        return Temperature(note="the mean margin is not positive: no T > 0 is better than chance")

    def slope(inverse: float) -> float:
        return float((unit_C * expit(-inverse * unit_C)).sum())

    high = 1.0
    while slope(high) > 0:
        high *= 2
    inverse = brentq(slope, 0.0, high, xtol=1e-300, rtol=1e-15, maxiter=1000)
    value = scale / inverse
    score_C = unit_C * expit(-inverse * unit_C)
    curvature = float((unit_C**2 * expit(inverse * unit_C) * expit(-inverse * unit_C)).sum())
    score_P = np.bincount(dense(cluster_C), weights=score_C)
    num_prompts = len(score_P)
    if num_prompts == 1 or curvature == 0:
        return Temperature(value)
    factor = num_prompts / (num_prompts - 1)
    error = math.sqrt(float((score_P**2).sum()) * factor) / curvature
    half = student(num_prompts - 1) * error
    upper = scale / (inverse - half) if inverse > half else None
    return Temperature(value, (scale / (inverse + half), upper))


def _bins(confidence_C: Floats) -> Ints:
    number_C = np.floor((confidence_C - 0.5) * 2 * NUM_BINS).astype(np.intp)
    return np.minimum(number_C, NUM_BINS - 1)
