"""Parts of the comparisons, shortcuts, and uncertainty, by hand."""

from __future__ import annotations

import numpy as np
import pytest

from assay.evaluate.shortcuts import shortcut_tables
from assay.evaluate.slices import by_name, by_quantile
from assay.evaluate.uncertainty import auroc, uncertainty_tables


def test_parts_by_quantile_hold_every_comparison_once() -> None:
    value = np.arange(100.0)
    margin = np.where(value < 40, -1.0, 1.0)
    rows = by_quantile(value, margin, np.arange(100))
    assert [(row["low"], row["high"]) for row in rows] == [
        (0, 19),
        (20, 39),
        (40, 59),
        (60, 79),
        (80, 99),
    ]
    assert [row["accuracy"] for row in rows] == [0, 0, 1, 1, 1]
    assert [row["mean_margin"] for row in rows] == [-1, -1, 1, 1, 1]
    assert {row["num_comparisons"] for row in rows} == {20}


@pytest.mark.parametrize(("count", "parts"), [(1, 1), (39, 1), (40, 2), (99, 4), (1000, 5)])
def test_few_comparisons_make_few_parts(count: int, parts: int) -> None:
    rows = by_quantile(np.arange(float(count)), np.ones(count), np.arange(count))
    assert len(rows) == parts
    assert sum(row["num_comparisons"] for row in rows) == count


def test_equal_values_stand_in_one_part() -> None:
    value = np.array([5.0] * 90 + [7.0] * 30)
    rows = by_quantile(value, np.ones(120), np.arange(120))
    assert [(row["low"], row["high"], row["num_comparisons"]) for row in rows] == [
        (5, 5, 90),
        (7, 7, 30),
    ]


def test_a_part_counts_its_own_prompts() -> None:
    """Prompts that are elsewhere say nothing of a part."""
    table = by_name(["latin", "latin", "han"], np.array([1.0, -1.0, 1.0]), np.array([4, 4, 9]))
    assert list(table) == ["latin", "han"]
    assert table["latin"]["num_prompts"] == table["han"]["num_prompts"] == 1
    assert table["latin"]["accuracy"] == 0.5
    assert table["han"]["accuracy_ci95"] == [0.0, 1.0]  # of one prompt


def test_the_model_where_the_shortcut_is_wrong_by_hand() -> None:
    # Longer wins 3, loses 1, says nothing once: (3 + 0.5) / 5 = 0.7.
    signs = {"length": np.array([1, 1, 1, -1, 0], dtype=np.int8)}
    margin = np.array([1.0, 2.0, -1.0, -3.0, 4.0])
    row = shortcut_tables(signs, margin, np.arange(5))["length"]
    assert (row["direction"], row["accuracy"], row["num_decided"]) == ("longer wins", 0.7, 4)
    assert row["accuracy_where_decided"] == 0.75
    assert row["model"]["right"]["accuracy"] == pytest.approx(2 / 3, abs=1e-12)
    assert row["model"]["wrong"]["accuracy"] == 0.0
    assert row["model"]["undecided"]["accuracy"] == 1.0


def test_a_shortcut_in_the_other_direction_is_turned() -> None:
    signs = {
        "length": np.array([-1, -1, 1], dtype=np.int8),
        "markdown": np.array([-1, -1, -1], dtype=np.int8),
    }
    table = shortcut_tables(signs, np.array([1.0, 1.0, -1.0]), np.arange(3))
    assert list(table) == ["markdown", "length"], "the strongest first"
    assert table["length"]["direction"] == "shorter wins"
    assert table["length"]["model"]["wrong"]["num_comparisons"] == 1
    assert table["length"]["model"]["wrong"]["accuracy"] == 0.0
    assert table["markdown"]["model"]["wrong"]["accuracy"] is None


def test_uncertainty_by_hand() -> None:
    # Errors 0.4 and 0.2 against right 0.3 and 0.1: of four pairs 3 are in order, 0.2 < 0.3 is not.
    spread = np.array([0.4, 0.3, 0.2, 0.1])
    margin = np.array([-0.1, 1.0, 0.0, 2.0])
    assert auroc(spread, margin <= 0) == 0.75
    found = uncertainty_tables(spread, margin, np.arange(4))
    assert found["auroc"] == 0.75
    assert found["auroc_of_margin"] == 1.0
    assert found["mean_where_wrong"] == pytest.approx(0.3, abs=1e-12)
    assert found["mean_where_right"] == pytest.approx(0.2, abs=1e-12)
    assert [row["error_rate"] for row in found["bins"]] == [0.5]
    assert auroc(np.array([1.0, 1.0]), np.array([True, False])) == 0.5
    assert auroc(spread, np.zeros(4, dtype=bool)) is None
