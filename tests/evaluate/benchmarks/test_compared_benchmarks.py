"""Two models on a benchmark: paired by item, of models and of stored scores."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from benchmark_rows import ROWS, write

from assay.data.loading import SkippedRow
from assay.data.records import Source
from assay.data.sources import DataSource
from assay.errors import DataError
from assay.evaluate.benchmarks import ScoredItem, get_benchmark
from assay.evaluate.benchmarks.command import benchmark_command, scores_command
from assay.evaluate.benchmarks.stored import InputRead, lines_of
from assay.evaluate.command import EvalOptions
from assay.evaluate.compare import compare, read_evaluated

READ = InputRead("rows.jsonl", "abc")


def stored(
    place: Path,
    name: str,
    rewards: list[tuple[float, ...] | None],
    read: InputRead | None = READ,
    numbers: range | None = None,
) -> Path:
    """Stored scores of the first rows of a benchmark, evaluated; None is a row left out."""
    benchmark = get_benchmark(name)
    scored, skipped = [], []
    for number, values in zip(numbers or range(len(rewards)), rewards, strict=True):
        source = Source("rows.jsonl", number + 1)
        if values is None:
            skipped.append(SkippedRow(source, "over 9 tokens"))
        else:
            scored.append(ScoredItem(benchmark.read(ROWS[name](number), source), values))
    place.mkdir()
    file = place / "items.jsonl"
    file.write_text("".join(lines_of(benchmark, scored, skipped, read=read)), encoding="utf-8")
    scores_command(name, str(file), EvalOptions(output=place / "out"))
    return place / "out"


def compared(*places: Path) -> dict[str, Any]:
    return compare([read_evaluated(place) for place in places])


def test_items_by_hand(tmp_path: Path) -> None:
    """Rows 1, 2, 4 of RewardBench 2: one right answer and three wrong ones, six pairs.

    The second model gains row 1 and loses row 2, where it has two of three pairs.
    """
    numbers = range(1, 4)
    right, tie, worse = (3.0, 0, 1, 2), (2.0, 0, 1, 2), (1.5, 0, 1, 2)
    of_ties = (5.0, 4.0, 0, 1, 2)
    a = stored(tmp_path / "a", "rewardbench2", [tie, right, of_ties], numbers=numbers)
    b = stored(tmp_path / "b", "rewardbench2", [right, worse, of_ties], numbers=numbers)
    found = compared(a, b)
    assert (found["benchmark"], found["unit"]) == ("rewardbench2", "items")
    assert (found["first"]["accuracy"], found["first"]["num_comparisons"]) == (2 / 3, 3)
    paired = found["others"][0]["paired"]
    assert (paired["num_comparisons"], paired["num_prompts"]) == (3, 3)
    assert (paired["first"], paired["other"]) == pytest.approx((2 / 3, 2 / 3))
    assert (paired["gained"], paired["lost"], paired["difference"]) == (1, 1, 0.0)
    assert paired["difference_ci95"][0] < 0 < paired["difference_ci95"][1]
    by_subset = found["others"][0]["by_tag"]
    assert {name: part["difference"] for name, part in by_subset.items()} == {
        "Math": 1.0,
        "Factuality": -1.0,
        "Ties": 0.0,
    }
    headline, pairs = found["others"][0]["headline"], found["others"][0]["pairs"]
    assert headline == {"name": "RewardBench 2 score", "first": None, "other": None}
    # 2 + 3 + 6 of 12 pairs, then 3 + 2 + 6: of three prompts one gains a pair and one loses one.
    assert (pairs["num_comparisons"], pairs["num_prompts"]) == (12, 3)
    assert (pairs["first"], pairs["other"]) == pytest.approx((11 / 12, 11 / 12))
    assert (pairs["gained"], pairs["lost"]) == (1, 1)
    flips = [(row["row"], row["flip"], row["margins"]) for row in found["others"][0]["flipped"]]
    assert flips == [("rows.jsonl:2", "gained", [0, 1]), ("rows.jsonl:3", "lost", [1, -0.5])]


def test_what_one_model_left_out_is_listed(tmp_path: Path) -> None:
    a = stored(tmp_path / "a", "cvalues", [(1.0, 0), (1.0, 0), (1.0, 0)])
    b = stored(tmp_path / "b", "cvalues", [(0.0, 1), None, (1.0, 0)])
    [other] = compared(a, b)["others"]
    assert (other["paired"]["num_comparisons"], other["paired"]["lost"]) == (2, 1)
    assert (other["only_first"], other["only_other"]) == (["rows.jsonl:2"], [])


def test_other_inputs_and_other_benchmarks_are_refused(tmp_path: Path) -> None:
    rewards: list[tuple[float, ...] | None] = [(1.0, 0), (0.0, 1)]
    a = stored(tmp_path / "a", "cvalues", rewards)
    b = stored(tmp_path / "b", "cvalues", rewards, InputRead("rows.jsonl", "def"))
    with pytest.raises(DataError, match="input_sha256 is def here and abc there"):
        compared(a, b)
    c = stored(tmp_path / "c", "llmbar", rewards)
    with pytest.raises(DataError, match=r"another benchmark than .*: llmbar here and cvalues"):
        compared(a, c)
    results = json.loads((c / "results.json").read_text())
    (c / "results.json").write_text(json.dumps(results | {"benchmark": {"name": "llmbar"}}))
    with pytest.raises(DataError, match=r"is no results\.json of assay eval"):
        compared(a, c)


def test_scores_that_name_no_input_are_compared_by_their_rows(tmp_path: Path) -> None:
    rewards: list[tuple[float, ...] | None] = [(1.0, 0), (0.0, 1)]
    a = stored(tmp_path / "a", "cvalues", rewards, None)
    b = stored(tmp_path / "b", "cvalues", rewards[::-1], None)
    assert compared(a, b)["others"][0]["paired"]["gained"] == 1
    c = stored(tmp_path / "c", "cvalues", rewards, None, numbers=range(1, 3))
    with pytest.raises(DataError, match="rows_sha256 is"):
        compared(a, c)


def test_files_put_together_name_no_input(tmp_path: Path) -> None:
    """Two halves of a benchmark: no fingerprint is that of both, and all rows are there."""
    halves = [
        stored(tmp_path / name, "cvalues", [(1.0, 0), None], InputRead(name, name)) for name in "ab"
    ]
    both = tmp_path / "both.jsonl"
    both.write_text("".join((half.parent / "items.jsonl").read_text() for half in halves))
    found = scores_command("cvalues", str(both), EvalOptions())
    assert (found["rows"], found["skipped"]["count"], found["input"]) == (4, 2, None)
    assert found["input_sha256"] == found["scores_sha256"]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["rm-bench", "rewardbench2"])
def test_models_and_stored_scores_of_theirs(
    tiny_reward: Path, tiny_base: Path, tmp_path: Path, name: str
) -> None:
    """A model, its items.jsonl and its file for the authors; another one on the same rows."""
    from assay.config import ModelConfig
    from assay.model.loading import build_for_training
    from assay.model.saving import save_plain

    config = ModelConfig(path=str(tiny_base))
    other = build_for_training(config, None, seed=11, max_length=256, device="cpu")
    save_plain(other, tmp_path / "other")
    file = write(tmp_path / "rows.jsonl", map(ROWS[name], range(12)))
    results = []
    for model, out in ((tiny_reward, tmp_path / "a"), (tmp_path / "other", tmp_path / "b")):
        benchmark_command(name, str(model), DataSource(str(file)), EvalOptions(output=out))
        scores_command(name, str(out / "items.jsonl"), EvalOptions(output=out / "again"))
        written = sorted((out / "results").rglob("*.json"))[-1]
        scores_command(name, str(written), EvalOptions(output=out / "authors"))
        results.append(out)
    a, b = results
    [expected] = compared(a, b)["others"]
    assert expected["paired"]["num_comparisons"] == 12
    assert expected["pairs"]["gained"] + expected["pairs"]["lost"] > 0
    for ours, theirs in ((a / "again", b / "again"), (a, b / "again")):
        [found] = compared(ours, theirs)["others"]
        for part in ("paired", "pairs", "by_tag", "headline"):
            assert found[part] == expected[part]
    [found] = compared(a / "authors", b / "authors")["others"]
    assert found["headline"] == expected["headline"]
    for part in ("paired", "pairs"):
        assert found[part]["difference"] == expected[part]["difference"]
