"""Calibration by hand, and that the order of two responses has no part in it."""

from __future__ import annotations

import math

import numpy as np
import pytest

from assay.evaluate.calibration import (
    brier,
    calibration,
    error_by_chance,
    expected_error,
    fit_temperature,
    reliability,
)

LN3 = math.log(3)


def each_alone(count: int) -> np.ndarray:
    return np.arange(count)


def test_reliability_and_errors_by_hand() -> None:
    # sigmoid(ln 3) = 0.75: three comparisons of that confidence, two right; and one tie at 0.5.
    margin = np.array([LN3, LN3, -LN3, 0.0])
    bins = reliability(margin, each_alone(4))
    assert [(row["low"], row["high"], row["num_comparisons"]) for row in bins] == [
        (0.5, 0.55, 1),
        (0.75, 0.8, 3),
    ]
    assert (bins[0]["confidence"], bins[0]["right"]) == (0.5, 0.5)  # A tie is right by half.
    assert bins[1]["confidence"] == pytest.approx(0.75, abs=1e-12)
    assert bins[1]["right"] == pytest.approx(2 / 3, abs=1e-12)
    # (1 * 0 + 3 * |2/3 - 3/4|) / 4 = 1/16.
    assert expected_error(bins) == pytest.approx(1 / 16, abs=1e-12)
    # (1/4)^2, (1/4)^2, (3/4)^2, (1/2)^2: (1 + 1 + 9 + 4) / 16 / 4 = 15/64.
    assert brier(margin) == pytest.approx(15 / 64, abs=1e-12)
    # n v: 0.25 and 3 * 3/16: sqrt(2/pi) (0.5 + 0.75) / 4.
    assert error_by_chance(margin) == pytest.approx(math.sqrt(2 / math.pi) * 1.25 / 4, abs=1e-12)


def test_temperature_by_hand() -> None:
    # Margins 1, 1, 1, -1: sigmoid(1 / T) = 3/4 is likeliest, so 1 / T = ln 3.
    found = fit_temperature(np.array([1.0, 1.0, 1.0, -1.0]), each_alone(4))
    assert found.value == pytest.approx(1 / LN3, abs=1e-12)
    # Curvature 4 * 3/16 = 3/4. Scores 1/4, 1/4, 1/4, -3/4, squares 12/16 = 3/4, times 4/3 = 1.
    # Error of 1 / T: sqrt(1) / (3/4) = 4/3; t(0.975; 3) = 3.182446305284263.
    half = 3.182446305284263 * 4 / 3
    assert found.interval is not None
    assert found.interval[0] == pytest.approx(1 / (LN3 + half), abs=1e-12)
    assert found.interval[1] is None, "1 / T may be 0"


def test_temperature_has_the_unit_of_the_margins() -> None:
    margin = np.random.default_rng(0).normal(0.5, 1, 400)
    one, thousand = (fit_temperature(margin * unit, each_alone(400)) for unit in (1.0, 1000.0))
    assert one.value is not None
    assert thousand.value == pytest.approx(1000 * one.value, rel=1e-12)


@pytest.mark.parametrize(
    ("margins", "note"),
    [
        ([1.0, 2.0, 0.5], "no comparison is lost"),
        ([1.0, 0.0, 3.0], "no comparison is lost"),
        ([0.0, 0.0], "every margin is 0"),
        ([1.0, -2.0], "the mean margin is not positive"),
        # Sums are 0, and a little more or less as rounding goes.
        ([0.1, 0.2, -0.3], "the mean margin is not positive"),
        ([-0.6, -0.3, -0.7, 2.0, -0.4], "the mean margin is not positive"),
        ([-0.2, 1.3, -0.9, 1.0, -1.2], "the mean margin is not positive"),
    ],
)
def test_where_no_temperature_is_likeliest_none_is_given(margins: list[float], note: str) -> None:
    found = calibration(np.array(margins), each_alone(len(margins)))
    assert found["temperature"] is found["ece_fitted"] is found["brier_fitted"] is None
    assert found["temperature_note"].startswith(note)


def test_the_true_temperature_is_found_and_its_interval_covers_it() -> None:
    """Labels drawn with sigmoid(margin / 2.5), clusters of two: 300 draws know 0.95 to 0.013."""
    chance = np.random.default_rng(7)
    covered = 0
    for _ in range(300):
        margin = chance.normal(0, 3, 400)
        right = chance.random(400) < 1 / (1 + np.exp(-margin / 2.5))
        found = fit_temperature(np.where(right, margin, -margin), np.arange(400) // 2)
        assert found.interval is not None
        low, high = found.interval
        assert low is not None
        covered += low <= 2.5 <= (high or math.inf)
    assert 0.91 <= covered / 300 <= 0.985


def test_a_calibrated_model_has_about_the_error_by_chance() -> None:
    chance = np.random.default_rng(3)
    found = []
    for _ in range(100):
        margin = chance.normal(0, 2, 500)
        right = chance.random(500) < 1 / (1 + np.exp(-margin))
        found.append(calibration(np.where(right, margin, -margin), each_alone(500)))
    ratio = np.mean([row["ece"] for row in found]) / np.mean([f["ece_by_chance"] for f in found])
    assert 0.9 < ratio < 1.1


def test_both_orders_of_each_comparison_give_the_same_error() -> None:
    """P(first is better) over 20 bins, each comparison in both orders, is the same ECE."""
    chance = np.random.default_rng(1)
    margin = chance.normal(0.4, 1.5, 300)
    probability = 1 / (1 + np.exp(-np.concatenate([margin, -margin])))
    is_first = np.repeat([1.0, 0.0], 300)
    place = np.minimum((probability * 20).astype(int), 19)
    total = sum(
        abs(is_first[place == b].sum() - probability[place == b].sum()) for b in np.unique(place)
    )
    assert expected_error(reliability(margin, each_alone(300))) == pytest.approx(
        total / 600, abs=1e-12
    )
