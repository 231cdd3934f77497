"""Transforms by name: by-hand values, and what is refused."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from assay.data.records import Source
from assay.errors import ConfigError, DataError, ModelError
from assay.score.lines import Layout, line_of
from assay.score.scorer import RowScores
from assay.score.transform import REFERENCE_FILE, Reference, parse_transform, probability


@pytest.mark.parametrize(
    ("text", "reward", "expected"),
    [
        ("sigmoid", 0.0, 0.5),
        ("sigmoid", math.log(3), 0.75),
        ("sigmoid", -800.0, 0.0),
        ("temperature=4", 2.0, 0.5),
        ("temperature=0.5", -3.0, -6.0),
        ("zscore=1,2", 5.0, 2.0),
        ("zscore=-1,0.5", -1.5, -1.0),
    ],
)
def test_values(text: str, reward: float, expected: float) -> None:
    assert parse_transform(text)(reward) == pytest.approx(expected, abs=1e-15)


def test_a_temperature_gives_the_digits_of_a_float32() -> None:
    # As float64 11.999999999999998 and 3.666666666666667.
    assert parse_transform("temperature=0.1")(1.2) == 12.0
    assert parse_transform("temperature=0.3")(1.1) == 3.6666667


def test_what_json_cannot_say_is_refused() -> None:
    # 0.5 / 1e-320 is Infinity, which no strict reader of JSON takes, nor `assay eval --scores`.
    layout = Layout("assay", parse_transform("temperature=1e-320"), {})
    result = RowScores([0.5], [3], [False])
    with pytest.raises(
        DataError, match=r"rows\.jsonl:7: what is made of its rewards is not finite"
    ):
        line_of({"text": "a"}, Source("rows.jsonl", 7), result, layout)


def test_the_logistic_function_does_not_overflow() -> None:
    assert probability(1e6) == 1.0
    assert probability(-1e6) == 0.0


@pytest.mark.parametrize(
    "text",
    [
        *("softmax", "sigmoid=1", "temperature", "temperature=", "temperature=0", "temperature=-1"),
        *("temperature=nan", "temperature=inf", "zscore=1", "zscore=1,0", "zscore=1,2,3"),
        *("zscore=nan,1", "zscore=", ""),
    ],
)
def test_what_is_none(text: str) -> None:
    with pytest.raises(ConfigError) as refused:
        parse_transform(text)
    assert "--transform" in str(refused.value)
    assert "sigmoid, temperature=T" in str(refused.value)


def test_a_reference_is_kept_with_the_model(tmp_path: Path) -> None:
    found = Reference.of([1.0, 2.0, 3.0, 6.0])
    assert found == Reference(3.0, math.sqrt(14 / 3), 4)
    assert found.write(tmp_path) == tmp_path / REFERENCE_FILE
    zscore = parse_transform("zscore", tmp_path)
    assert zscore(3.0) == 0.0
    assert zscore(3 + math.sqrt(14 / 3)) == pytest.approx(1)


def test_no_reference_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(ModelError) as refused:
        parse_transform("zscore", tmp_path)
    assert "--write-reference" in str(refused.value)
    assert "zscore=MEAN,STD" in str(refused.value)


@pytest.mark.parametrize(
    "text", ["{", "[]", json.dumps({"mean": 1}), '{"mean": 1, "std": 0, "rewards": 2}']
)
def test_a_damaged_reference(text: str, tmp_path: Path) -> None:
    (tmp_path / REFERENCE_FILE).write_text(text)
    with pytest.raises(ModelError, match="not a readable reference"):
        parse_transform("zscore", tmp_path)


@pytest.mark.parametrize("rewards", [[], [1.0], [2.0, 2.0]])
def test_rewards_without_spread_give_none(rewards: list[float]) -> None:
    with pytest.raises(ConfigError, match="without any spread"):
        Reference.of(rewards)
