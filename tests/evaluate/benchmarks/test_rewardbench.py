"""RewardBench 1 and M-RewardBench against arithmetic by hand."""

from __future__ import annotations

import pytest
from benchmark_rows import made, pairs

from assay.evaluate.benchmarks import ScoredItem, get_benchmark
from assay.evaluate.benchmarks.sections import SECTIONS, section_scores

EXACT = {"rel": 0, "abs": 1e-12}


def all_subsets(**labels: str) -> list[ScoredItem]:
    """Everything right but some of Safety, where a tie is no win, and PRM Math.

    refusals-dangerous 1/2, refusals-offensive 1, xstest-should-refuse 1/2 (a win and a tie),
    xstest-should-respond 1/4, donotanswer 0, math-prm 0.
    """
    margins = {
        "refusals-dangerous": (1.0, -1.0),
        "xstest-should-refuse": (0.5, 0.0),
        "xstest-should-respond": (2.0, -1.0, -2.0, -3.0),
        "donotanswer": (-1.0,),
        "math-prm": (-0.25, 0.0),
    }
    subsets = [name for weights in SECTIONS.values() for name in weights]
    return [each for name in subsets for each in pairs(name, *margins.get(name, (1.0,)), **labels)]


SAFETY = 313.5 / 740
"""(100 * 0.5 + 100 * 1 + 250 * 0.5 + 154 * 0.25 + 136 * 0) / (100 + 100 + 250 + 154 + 136)."""


def test_sections_have_the_authors_weights() -> None:
    totals = {name: sum(weights.values()) for name, weights in SECTIONS.items()}
    # 100+95+95+28+40; 37+100+134+92+47+46; 100+100+250+154+136; 984+6*164
    assert totals == {"Chat": 358, "Chat Hard": 456, "Safety": 740, "Reasoning": 1968}


def test_final_without_prior_sets_is_the_mean_of_sections() -> None:
    found = get_benchmark("rewardbench").official(all_subsets())
    # Reasoning: 984 of 1968 parts are right.
    wanted = {"Chat": 1.0, "Chat Hard": 1.0, "Safety": SAFETY, "Reasoning": 0.5}
    assert found.numbers["sections"] == pytest.approx(wanted, **EXACT)
    assert found.value == pytest.approx((1 + 1 + SAFETY + 0.5) / 4, **EXACT)
    assert found.numbers["prior_sets"] is None
    assert found.by_subset["xstest-should-refuse"] == 0.5


def test_prior_sets_count_half_a_section() -> None:
    prior = [
        *pairs("anthropic_helpful", 1, -1),  # 1/2
        *pairs("anthropic_hhh", 1),  # 1
        *pairs("shp", 0),  # a tie: 0
        *pairs("summarize", 2),  # 1
    ]
    found = get_benchmark("rewardbench").official([*all_subsets(), *prior])
    assert found.numbers["prior_sets"] == pytest.approx(0.625, **EXACT)  # (0.5 + 1 + 0 + 1) / 4
    wanted = (2 * (1 + 1 + SAFETY + 0.5) + 0.625) / 9
    assert found.value == pytest.approx(wanted, **EXACT)
    assert found.numbers["final_without_prior_sets"] == pytest.approx(
        (1 + 1 + SAFETY + 0.5) / 4, **EXACT
    )


def test_a_missing_prior_set_is_said() -> None:
    found = get_benchmark("rewardbench").official([*all_subsets(), *pairs("shp", 1, -1, -1, -1)])
    assert found.numbers["prior_sets"] is None
    present = found.numbers["over_present_subsets"]
    assert present["prior_sets"] == 0.25
    assert present["final"] == pytest.approx((2 * (2.5 + SAFETY) + 0.25) / 9, **EXACT)
    assert any("anthropic_helpful" in note for note in found.notes)


def test_a_missing_subset_takes_its_section_and_the_final_score() -> None:
    scored = [each for each in all_subsets() if each.item.subset != "donotanswer"]
    found = get_benchmark("rewardbench").official(scored)
    assert (found.value, found.numbers["sections"]["Safety"]) == (None, None)
    assert found.numbers["sections"]["Chat"] == 1
    assert found.numbers["missing_subsets"] == ["donotanswer"]
    present = found.numbers["over_present_subsets"]
    # As the authors' code: (50 + 100 + 125 + 38.5) / (100 + 100 + 250 + 154)
    assert present["sections"]["Safety"] == pytest.approx(313.5 / 604, **EXACT)
    assert present["final"] == pytest.approx((2.5 + 313.5 / 604) / 4, **EXACT)
    assert "donotanswer" in found.notes[0]


def test_xstest_by_its_rows_stands_beside() -> None:
    found = get_benchmark("rewardbench").official(all_subsets()).numbers["xstest_by_rows"]
    # 154 rows should be refused and 250 answered: (50 + 100 + 154 * 0.5 + 250 * 0.25 + 0) / 740
    assert found["Safety"] == pytest.approx(289.5 / 740, **EXACT)
    assert found["final"] == pytest.approx((2.5 + 289.5 / 740) / 4, **EXACT)


def test_nothing_is_zero_by_absence() -> None:
    found = section_scores({"hep-go": 1.0})
    assert found.sections == dict.fromkeys(SECTIONS)
    assert found.present_sections == dict.fromkeys(SECTIONS) | {"Reasoning": 1.0}
    assert (found.final, found.present_final) == (None, None)


def test_a_subset_that_counts_nowhere_is_said() -> None:
    found = get_benchmark("rewardbench").official([*all_subsets(), *pairs("hep-perl", -1)])
    assert found.value == pytest.approx((1 + 1 + SAFETY + 0.5) / 4, **EXACT)
    assert "in no score: hep-perl" in found.notes[0]
    scored = [made("Maths", (1, 0, 0, 0)), made("Math", (1, 0, 0, 0))]
    assert "not in the score: Maths" in get_benchmark("rewardbench2").official(scored).notes[0]


def test_rows_of_one_id_each_count() -> None:
    twice = [made("hep-go", (1, 0), id="7"), made("hep-go", (0, 1), id="7")]
    assert get_benchmark("rewardbench").official(twice).by_subset == {"hep-go": 0.5}


def test_languages_each_by_themselves() -> None:
    turkish = all_subsets(language="tur_Latn")
    chinese = [made(each.item.subset, (1, 0), language="zho_Hans") for each in all_subsets()]
    found = get_benchmark("m-rewardbench").official([*turkish, *chinese])
    languages = found.numbers["by_language"]
    ours = (2.5 + SAFETY) / 4
    assert languages["tur_Latn"]["final"] == pytest.approx(ours, **EXACT)
    assert languages["zho_Hans"]["final"] == pytest.approx(1, **EXACT)
    assert found.value == pytest.approx((ours + 1) / 2, **EXACT)
    assert get_benchmark("m-rewardbench").official([*turkish, *chinese[:3]]).value is None
