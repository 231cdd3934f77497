"""What benchmarks compute of their measurements."""

from __future__ import annotations

import itertools
import math
import random
from pathlib import Path

import pytest
import scale
import suite
from gpu_exactness import missed
from score_rounds import Measured, disagreement, figures_of
from utilisation import REST, Shape, part_of, tree_counts


def test_a_power_law_has_its_exponent() -> None:
    points = [{"x": x, "y": 3 * x**1.5} for x in (1, 10, 100, 1000)]
    found = scale.exponent(points, "x", "y", "seconds")
    assert found["exponent"] == pytest.approx(1.5)
    assert found["last"] == pytest.approx(1.5)
    assert found["error"] == pytest.approx(0, abs=1e-9)


def test_the_error_of_an_exponent_is_that_of_the_slope() -> None:
    """Logarithms 0, 1, 2 and 0, 2, 1 (of e): slope 1/2, residual sum 3/2, error sqrt(3/2/1/2)."""
    e = 2.718281828459045
    points = [{"x": e**a, "y": e**b} for a, b in ((0, 0), (1, 2), (2, 1))]
    found = scale.exponent(points, "x", "y", "seconds")
    assert (found["exponent"], found["error"]) == (
        pytest.approx(0.5),
        pytest.approx(0.75**0.5),
    )


def test_what_does_not_grow_has_no_exponent() -> None:
    points = [{"x": 1, "y": -2.0}, {"x": 2, "y": 0.0}, {"x": 4, "y": 1.0}]
    found = scale.exponent(points, "x", "y", "memory")
    assert (found["exponent"], found["error"], found["last"]) == (None, None, None)
    assert found["ends"] == [-2.0, 1.0]


def test_counts_of_a_tree_are_those_of_its_prefixes() -> None:
    chance = random.Random(0)
    for _ in range(50):
        sequences = [
            tuple(chance.choices((1, 2), k=chance.randint(1, 6)))
            for _ in range(chance.randint(1, 5))
        ]
        prefixes = {ids[:end] for ids in sequences for end in range(1, len(ids) + 1)}
        last = {ids for ids in sequences}
        expected = len(prefixes), sum(map(len, prefixes)), sum(map(len, last))
        assert tree_counts(sequences) == expected


def test_useful_operations_by_hand() -> None:
    """Two layers; 3 tokens, two of them the ends of sequences; 3 + 2 pairs, of ends 2 + 2."""
    shape = Shape(layers=2, heads=3, head_width=5, everywhere=7, elsewhere=11, width=13)
    weights = (7 + 11) * 3 + 7 * 3 + (11 + 13) * 2
    pairs = (1 + 2 + 2) + (2 + 2)
    assert shape.useful([(1, 2), (1, 3)]) == 2 * weights + 4 * 3 * 5 * pairs


@pytest.mark.parametrize(
    ("operator", "part"),
    [
        ("mm", "matrix products"),
        ("mul", REST),
        ("_scaled_dot_product_flash_attention_for_cpu_backward", "attention"),
        ("_fused_adamw_", "the optimizer"),
        ("copy_", "copies, indexing and zeros"),
        ("max", REST),
    ],
)
def test_operators_are_known_by_what_they_are_for(operator: str, part: str) -> None:
    assert part_of(operator) == part


def test_the_suite_names_targets_of_the_makefile() -> None:
    makefile = (Path(suite.__file__).parents[1] / "Makefile").read_text(encoding="utf-8")
    for one in suite.BENCHMARKS:
        assert f"\nbench-{one.name}: " in makefile
    names = [one.name for one in suite.BENCHMARKS]
    assert len(set(names)) == len(names)
    assert not any(a.result == b.result for a, b in itertools.combinations(suite.BENCHMARKS, 2))


@pytest.mark.parametrize(
    ("script", "outcome"),
    [
        ("exit 3", "failed with exit code 3"),
        ("true", "no result was written"),
        ('test "$1" = bench-cold && echo {} > "$RESULT"', "done"),
    ],
)
def test_a_benchmark_is_done_when_its_result_is_new(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str, outcome: str
) -> None:
    make = tmp_path / "make"
    make.write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
    make.chmod(0o755)
    cold = next(one for one in suite.BENCHMARKS if one.name == "cold")
    monkeypatch.setattr(suite, "RESULTS", tmp_path)
    monkeypatch.setenv("MAKE", str(make))
    monkeypatch.setenv("RESULT", str(cold.place))
    assert suite.outcome_of(cold) == outcome


def test_ratios_are_taken_within_a_round() -> None:
    def side(seconds: float, *scores: float) -> dict[str, object]:
        return {"seconds": seconds, "scores": list(scores)}

    rounds = [
        {"assay": side(1.0, 0.5, 1.5), "vllm": side(3.0, 0.5, 1.5)},
        {"vllm": side(10.0, 0.5, 1.502), "assay": side(2.0, 0.5, 1.5)},
        {"assay": side(4.0, 0.5, 1.5), "vllm": side(16.0, 0.5, 1.5)},
    ]
    measured = Measured({"assay": {}, "vllm": {}}, rounds)  # type: ignore[arg-type]
    found = figures_of(measured, unit="pairs", count=8, bars={"vllm": 4.5, "transformers": 1.0})
    assert found["ratio_vs_vllm"] == 4.0
    assert (found["ratio_vs_vllm_min"], found["ratio_vs_vllm_max"]) == (3.0, 5.0)
    assert found["pairs_per_second"]["assay"] == {"median": 4.0, "min": 2.0, "max": 8.0}
    assert [bar["met"] for bar in found["bars"].values()] == [False]
    assert found["rounds"][1]["order"] == ["vllm", "assay"]
    said = disagreement(found)
    assert said is not None
    assert "vllm differ by 2.0e-03" in said
    rounds[1]["vllm"] = side(10.0, 0.5, 1.5005)
    assert disagreement(figures_of(measured, unit="pairs", count=8, bars={})) is None
    rounds[2]["vllm"] = side(16.0, 0.5, math.nan)
    said = disagreement(figures_of(measured, unit="pairs", count=8, bars={}))
    assert said is not None
    assert "vllm differ by inf" in said


@pytest.mark.parametrize("errors", [(1e-9, math.nan), (math.nan, 1e-9), (1e-9, 2e-5)])
def test_what_is_no_number_is_over_every_bar(errors: tuple[float, float]) -> None:
    row = {"family": "llama", "engine": "tree", "rewards": errors[0], "gradients": errors[1]}
    assert len(missed([row | {"dtype": "float64"}])) == 1
    roundings = [error * 1e5 for error in errors]
    assert len(missed([row | {"dtype": "bfloat16", "roundings": roundings}])) == 1
    assert missed([row | {"dtype": "bfloat16", "roundings": [0.2, 1.0]}]) == []
