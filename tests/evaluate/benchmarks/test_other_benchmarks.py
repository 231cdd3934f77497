"""RM-Bench, JudgeBench, RMB, LLMBar, CValues and PKU-SafeRLHF against arithmetic by hand."""

from __future__ import annotations

import pytest
from benchmark_rows import ADVICE, REFUSAL, RISK, made, pairs

from assay.evaluate.benchmarks import get_benchmark
from assay.evaluate.benchmarks.rm_bench import style_scores

EXACT = {"rel": 0, "abs": 1e-12}

FANCY = made("chat", (0, 1, 2, 0, 1, 2), good=(0, 1, 2))
"""Rewards go by style alone. Wins: none on the diagonal (ties) or above it, all three below."""
RIGHT = made("chat", (3, 4, 5, 0, 1, 2), good=(0, 1, 2))
"""Every right answer is above every wrong one."""


def test_rm_bench_difficulties() -> None:
    # Two items: easy (3 + 3) / 6, normal (0 + 3) / 6, hard (0 + 3) / 6.
    found = style_scores([FANCY, RIGHT])
    assert found == pytest.approx(
        {"easy": 1, "normal": 1 / 2, "hard": 1 / 2, "mean": 2 / 3}, **EXACT
    )
    # chosen (1, 0, 2) against rejected (0, 1.5, 1): wins 1>0, 2>0, 2>1.5, 2>1; 0>0 is a tie.
    # easy: rows below the diagonal 0>0 no, 2>0 yes, 2>1.5 yes; normal 1>0, 2>1; hard none.
    found = style_scores([made("code", (1, 0, 2, 0, 1.5, 1), good=(0, 1, 2))])
    assert found == pytest.approx(
        {"easy": 2 / 3, "normal": 2 / 3, "hard": 0, "mean": 4 / 9}, **EXACT
    )


def test_rm_bench_safety_is_pooled_and_domains_count_alike() -> None:
    def of(domain: str, rewards: tuple[float, ...]):  # type: ignore[no-untyped-def]
        return made(domain, rewards, good=(0, 1, 2))

    fancy, right, wrong = FANCY.rewards, RIGHT.rewards, (0, 0, 0, 1, 1, 1)
    scored = [
        of("chat", right),
        of("math", fancy),
        of("code", wrong),
        of("safety-refuse", right),
        of("safety-refuse", right),
        of("safety-response", wrong),
    ]
    found = get_benchmark("rm-bench").official(scored)
    # chat 1, 1, 1; math easy 1, normal 0, hard 0; code 0; safety 2/3 each (of three rows).
    assert found.numbers["easy"] == pytest.approx((1 + 1 + 0 + 2 / 3) / 4, **EXACT)
    assert found.numbers["normal"] == pytest.approx((1 + 0 + 0 + 2 / 3) / 4, **EXACT)
    assert found.numbers["hard"] == pytest.approx((1 + 0 + 0 + 2 / 3) / 4, **EXACT)
    assert found.value == pytest.approx((1 + 1 / 3 + 0 + 2 / 3) / 4, **EXACT)
    assert found.by_subset["safety-response"] == 0
    part = get_benchmark("rm-bench").official(scored[1:])
    assert (part.value, part.numbers["easy"]) == (None, None)
    assert part.numbers["missing_domains"] == ["chat"]


def test_judgebench_takes_a_tie_for_b() -> None:
    scored = [
        made("knowledge", (1, 0), good=(0,)),  # A>B, right
        made("knowledge", (0, 0), good=(0,)),  # a tie is B>A: wrong
        made("math", (0, 0), good=(1,)),  # a tie is B>A: right, but no strict win
        made("coding", (1, 0), good=(1,)),  # wrong
    ]
    found = get_benchmark("judgebench").official(scored)
    assert found.value == pytest.approx(2 / 4, **EXACT)
    wanted = {"knowledge": 0.5, "reasoning": None, "math": 1.0, "coding": 0.0}
    assert found.numbers["categories"] == wanted
    assert found.numbers["missing_categories"] == ["reasoning"]
    assert [each.is_strictly_right for each in scored] == [True, False, False, False]


def test_rmb_is_the_mean_of_four() -> None:
    def of(goal: str, kind: str, *rewards: tuple[float, ...]):  # type: ignore[no-untyped-def]
        return [made(f"{goal}/x", each, goal=goal, set=kind) for each in rewards]

    scored = [
        *of("Helpfulness", "pairwise", (1, 0), (0, 0)),  # a tie is wrong: 1/2
        *of("Helpfulness", "best_of_n", (2, 1, 0), (2, 2, 0), (1, 2, 0)),  # a tie is wrong: 1/3
        *of("Harmlessness", "pairwise", (1, 0)),  # 1
        *of("Harmlessness", "best_of_n", (0, 1)),  # 0
    ]
    found = get_benchmark("rmb").official(scored)
    assert found.numbers["Helpfulness"] == pytest.approx(
        {"pairwise": 1 / 2, "best_of_n": 1 / 3}, **EXACT
    )
    assert found.value == pytest.approx((1 / 2 + 1 / 3 + 1 + 0) / 4, **EXACT)
    part = get_benchmark("rmb").official(scored[:5])
    assert part.value is None
    assert part.numbers["missing"] == ["Harmlessness pairwise", "Harmlessness best_of_n"]


def test_llmbar_averages_adversarial_subsets() -> None:
    scored = [
        *pairs("Natural", 1, 1, 1, -1),  # 3/4
        *pairs("Neighbor", 1),  # 1
        *pairs("GPTInst", 0, 1),  # a tie: 1/2
        *pairs("GPTOut", -1),  # 0
        *pairs("Manual", 1, 1),  # 1
    ]
    found = get_benchmark("llmbar").official(scored)
    assert found.value == pytest.approx(2.5 / 4, **EXACT)
    assert found.numbers["natural"] == 0.75
    assert found.numbers["average_of_five"] == pytest.approx(3.25 / 5, **EXACT)
    part = get_benchmark("llmbar").official(scored[:4])
    assert (part.value, part.numbers["missing_subsets"]) == (
        None,
        ["Neighbor", "GPTInst", "GPTOut", "Manual"],
    )


def test_cvalues_by_types() -> None:
    scored = [
        *pairs(f"{REFUSAL} > {RISK}", 1, 1),
        *pairs(f"{ADVICE} > {RISK}", 1, -1),
        *pairs(f"{ADVICE} > {REFUSAL}", 0, 1, -1, -2),  # the hard one: 1/4
    ]
    found = get_benchmark("cvalues").official(scored)
    assert found.value == pytest.approx(4 / 8, **EXACT)
    assert found.numbers["hard"] == 0.25
    assert found.numbers["mean_of_three"] == pytest.approx((1 + 0.5 + 0.25) / 3, **EXACT)
    part = get_benchmark("cvalues").official(scored[:2])
    assert (part.value, part.numbers["hard"], part.numbers["mean_of_three"]) == (1, None, None)
    assert ADVICE in part.notes[0]


def test_pku_has_two_labels() -> None:
    scored = [
        made("labels agree", (1, 0), good=(0,), safer="0"),  # better right, safer right
        made("labels differ", (1, 0), good=(0,), safer="1"),  # right, wrong
        made("labels differ", (0, 1), good=(0,), safer="1"),  # wrong, right
        made("labels agree", (0, 0), good=(1,), safer="1"),  # a tie is neither
    ]
    found = get_benchmark("pku-saferlhf").official(scored).numbers
    assert (found["better"], found["safer"]) == (0.5, 0.5)
    assert found["safer_by_subset"] == {"labels agree": 0.5, "labels differ": 0.5}
    low, high = found["safer_ci95"]
    assert 0 <= low < 0.5 < high <= 1
