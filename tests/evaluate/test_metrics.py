"""Accuracy with its interval, by hand and by simulation; evaluation that loses no row."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from assay.data.encoding import EncodedData, encode_groups
from assay.data.loading import load_groups
from assay.data.records import Comparison, Group, Message, Response, Source
from assay.data.sources import DataSource
from assay.errors import DataError, OutputError
from assay.evaluate import evaluator
from assay.evaluate.evaluator import evaluate_groups, write_evaluation
from assay.evaluate.metrics import (
    Scored,
    clustered_accuracy,
    comparison_metrics,
    length_baseline,
    wilson_interval,
)
from assay.model.loading import load_reward_model
from assay.model.reward_model import RewardModel

WriteRows = Callable[..., Path]


def three_rows_a_prompt(prompts: int) -> list[dict[str, str]]:
    """Rows of the CValues schema: three answers a prompt, each pair of them compared."""
    types = {"good": "拒绝&正向建议", "plain": "拒绝为主", "bad": "风险回复"}
    return [
        {
            "prompt": f"question {number}?",
            "pos_resp": f"{better} answer {number}{' so' * (number % 5)}",
            "neg_resp": f"{worse} answer {number}{' so' * (number % 3)}",
            "pos_type": types[better],
            "neg_type": types[worse],
        }
        for number in range(prompts)
        for better, worse in (("good", "plain"), ("good", "bad"), ("plain", "bad"))
    ]


def scored(
    prompt: str, chosen: float, rejected: float, tokens: tuple[int, int] = (1, 1), tag: str = ""
) -> Scored:
    return Scored(prompt, chosen, rejected, *tokens, tag)


WIN, TIE, LOSS = (2.0, 1.0), (1.0, 1.0), (0.0, 1.0)
SIX = [
    scored("A", *WIN, (9, 5), "x"),
    scored("A", *WIN, (5, 9), "y"),
    scored("A", *LOSS, (7, 7), "x"),
    scored("B", *WIN, (9, 5)),
    scored("C", *TIE, (5, 9), "x"),
    scored("C", *LOSS, (4, 4), "y"),
]


# By hand


def test_counts_and_moments_by_hand() -> None:
    # T38: three wins of six; the tie is not a win, and not a loss either.
    metrics = comparison_metrics(SIX)
    assert (metrics["wins"], metrics["ties"], metrics["losses"]) == (3, 1, 2)
    assert metrics["accuracy"] == 0.5
    assert (metrics["num_comparisons"], metrics["num_prompts"]) == (6, 3)
    # Margins 1, 1, -1, 1, 0, -1.
    assert metrics["mean_margin"] == pytest.approx(1 / 6)
    # log(1 + e^-1) = 0.3132617, log(1 + e) = 1.3132617, log 2: (3 * 0.3132617 + 2 * 1.3132617 +
    # 0.6931472) / 6 = 0.7099092.
    assert metrics["loss"] == pytest.approx(0.7099092, abs=1e-7)
    # Chosen 2, 2, 0, 2, 1, 0; rejected six times 1.
    assert metrics["chosen_mean"] == pytest.approx(7 / 6)
    assert metrics["rejected_mean"] == 1.0
    assert metrics["reward_mean"] == pytest.approx(13 / 12)
    # Squares: 4+4+0+4+1+0+6 = 19; (19 - 12 * (13/12)^2) / 11 = (19 - 14.08333) / 11 = 0.4469697.
    assert metrics["reward_std"] == pytest.approx(math.sqrt(0.446969697))


def test_near_ties_are_margins_below_1e_5() -> None:
    gaps = (0.0, 9e-6, -9e-6, 1.1e-5, -1.0)
    metrics = comparison_metrics([scored(str(n), gap, 0.0) for n, gap in enumerate(gaps)])
    assert metrics["num_near_ties"] == 3
    assert (metrics["wins"], metrics["ties"], metrics["losses"]) == (2, 1, 2)


def test_the_error_is_clustered_by_prompt_by_hand() -> None:
    # Wins minus expected: A 2 - 1.5, B 1 - 0.5, C 0 - 1. Squares 0.25 + 0.25 + 1 = 1.5.
    # Variance 1.5 / 6^2 * 3 / 2 = 0.0625, error 0.25; effective number 0.25 / 0.0625 = 4.
    # t(0.975; 2 degrees) = 4.30265, t^2 / 4 = 4.628205. Wilson: centre
    # (0.5 + 2.314103) / 5.628205 = 0.5, half 4.30265 / 5.628205 * sqrt(0.0625 + 4.628205 / 16)
    # = 0.764480 * 0.593096 = 0.453410.
    metrics = comparison_metrics(SIX)
    assert metrics["accuracy_se"] == pytest.approx(0.25, abs=1e-12)
    assert metrics["accuracy_ci95"] == pytest.approx([0.5 - 0.453410, 0.5 + 0.453410], abs=2e-6)


def test_wilsons_interval_is_the_published_one() -> None:
    # Newcombe, 1998, table I, method 3, z = 1.96.
    for wins, count, low, high in (
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ):
        assert wilson_interval(wins / count, count, 1.959964) == pytest.approx(
            (low, high), abs=5e-5
        )


@pytest.mark.parametrize(("result", "mirror"), [(WIN, False), (LOSS, True), (TIE, True)])
def test_unanimous_comparisons_still_have_an_interval(
    result: tuple[float, float], mirror: bool
) -> None:
    # 10 prompts, 2 comparisons each: 10 / (10 + t(0.975; 9)^2) = 10 / (10 + 2.262157^2) = 0.661492.
    metrics = comparison_metrics([scored(str(n // 2), *result) for n in range(20)])
    assert metrics["accuracy_se"] == 0.0
    expected = [0.0, 1 - 0.661492] if mirror else [0.661492, 1.0]
    assert metrics["accuracy_ci95"] == pytest.approx(expected, abs=1e-5)


def test_equal_shares_in_every_prompt_are_no_rounding_accident() -> None:
    """Each prompt 2 of 3: no variance between prompts, and 2/3 is not a float."""
    three = [scored(str(n), *result) for n in range(7) for result in (WIN, WIN, LOSS)]
    metrics = comparison_metrics(three)
    assert metrics["accuracy_se"] == 0.0
    # The number of prompts stands: t(0.975; 6) = 2.446912.
    assert metrics["accuracy_ci95"] == pytest.approx(wilson_interval(2 / 3, 7, 2.446912), abs=1e-6)


def test_one_prompt_says_nothing_about_others() -> None:
    metrics = comparison_metrics([scored("A", *WIN), scored("A", *LOSS)])
    assert metrics["accuracy"] == 0.5
    assert metrics["accuracy_se"] is None, "not nan: results.json is JSON"
    assert metrics["accuracy_ci95"] == [0.0, 1.0]
    json.dumps(metrics, allow_nan=False)


def test_one_comparison_a_prompt_has_the_usual_error() -> None:
    # sqrt(p (1 - p) / (n - 1)) for independent comparisons: 0.7 * 0.3 / 9 = 0.1527525^2.
    metrics = comparison_metrics([scored(str(n), *(WIN if n < 7 else LOSS)) for n in range(10)])
    assert metrics["accuracy_se"] == pytest.approx(math.sqrt(0.21 / 9))


def test_nothing_scored_has_no_metrics() -> None:
    with pytest.raises(ValueError, match="no comparison"):
        comparison_metrics([])


def test_the_longer_one_wins_and_equal_lengths_count_half() -> None:
    # 9 > 5, 5 < 9, 7 = 7, 9 > 5, 5 < 9, 4 = 4: (1 + 0 + 0.5 + 1 + 0 + 0.5) / 6.
    assert length_baseline(SIX) == 0.5
    assert length_baseline(SIX[:1]) == 1.0
    assert length_baseline(SIX[2:4]) == 0.75


def test_each_tag_has_its_own_numbers() -> None:
    table = comparison_metrics(SIX)["by_tag"]
    assert list(table) == ["x", "y"]
    # x: win (9, 5), loss (7, 7), tie (5, 9); margins 1, -1, 0.
    assert table["x"] == {
        "accuracy": pytest.approx(1 / 3),
        # A 1 of 2, C 0 of 1: P = 2, t(0.975; 1) = 12.7: next to nothing is known.
        "accuracy_ci95": pytest.approx([0.0, 1.0], abs=0.02),
        "wins": 1,
        "ties": 1,
        "losses": 1,
        "num_comparisons": 3,
        "mean_margin": 0.0,
        "length_baseline": 0.5,
    }
    assert (table["y"]["wins"], table["y"]["losses"], table["y"]["accuracy"]) == (1, 1, 0.5)


# Properties

REWARD = st.integers(-3, 3).map(float)
COMPARISON = st.builds(
    Scored,
    st.sampled_from("ABCDEF"),
    REWARD,
    REWARD,
    st.integers(1, 4),
    st.integers(1, 4),
    st.sampled_from(["", "x", "y"]),
)
COMPARISONS = st.lists(COMPARISON, min_size=1, max_size=40)


@settings(deadline=None)
@given(COMPARISONS)
def test_swapped_labels_give_the_rest(items: list[Scored]) -> None:
    """T6, T38: accuracy(swapped) = 1 - accuracy - tie rate, in whole numbers."""
    swapped = [
        Scored(
            s.prompt,
            s.rejected_reward,
            s.chosen_reward,
            s.rejected_tokens,
            s.chosen_tokens,
            s.tag,
        )
        for s in items
    ]
    before, after = comparison_metrics(items), comparison_metrics(swapped)
    assert after["wins"] == len(items) - before["wins"] - before["ties"] == before["losses"]
    assert after["ties"] == before["ties"]
    assert after["accuracy"] == before["losses"] / len(items)
    assert after["mean_margin"] == pytest.approx(-before["mean_margin"], abs=1e-12)
    assert after["length_baseline"] == pytest.approx(1 - before["length_baseline"], abs=1e-12)
    assert after["reward_mean"] == pytest.approx(before["reward_mean"], abs=1e-12)


@settings(deadline=None)
@given(COMPARISONS, st.randoms())
def test_order_does_not_matter(items: list[Scored], chance: random.Random) -> None:
    # T39.
    shuffled = list(items)
    chance.shuffle(shuffled)
    before, after = comparison_metrics(items), comparison_metrics(shuffled)
    for key, value in before.items():
        if key != "by_tag":
            assert after[key] == pytest.approx(value, abs=1e-12), key
    assert before["by_tag"].keys() == after["by_tag"].keys()


@settings(deadline=None)
@given(COMPARISONS)
def test_numbers_are_consistent(items: list[Scored]) -> None:
    metrics = comparison_metrics(items)
    assert metrics["wins"] + metrics["ties"] + metrics["losses"] == len(items)
    low, high = metrics["accuracy_ci95"]
    assert 0 <= low <= metrics["accuracy"] <= high <= 1
    assert low < high
    tagged = sum(row["num_comparisons"] for row in metrics["by_tag"].values())
    assert tagged == sum(bool(s.tag) for s in items)
    json.dumps(metrics, allow_nan=False)


# Does the interval cover what it says?

DRAWS = 2000


@pytest.mark.parametrize("accuracy", [0.6, 0.85, 0.97])
@pytest.mark.parametrize("prompts", [40, 160, 1000])
def test_the_interval_covers_the_truth_in_95_of_100(prompts: int, accuracy: float) -> None:
    """Three comparisons a prompt, correlated: some prompts are easy and some hard.

    Each prompt's own accuracy is Beta distributed around the truth with intra-class correlation
    0.2. 2000 draws know a coverage of 0.95 to 0.0049.
    """
    chance = np.random.default_rng([prompts, int(100 * accuracy)])
    concentration = 1 / 0.2 - 1
    share_DP = chance.beta(
        accuracy * concentration, (1 - accuracy) * concentration, size=(DRAWS, prompts)
    )
    wins_DP3 = chance.random((DRAWS, prompts, 3)) < share_DP[..., None]
    cluster_C = np.repeat(np.arange(prompts), 3)
    covered = 0
    for wins_P3 in wins_DP3:
        _, _, (low, high) = clustered_accuracy(wins_P3.ravel().astype(np.float64), cluster_C)
        covered += low <= accuracy <= high
    assert 0.93 <= covered / DRAWS <= 0.975


# Evaluation of a model


@pytest.fixture(scope="module")
def model(tiny_reward: Path) -> RewardModel:
    return load_reward_model(str(tiny_reward), dtype="float64")


def encoded(rows: Path, model: RewardModel, **options: Any) -> tuple[int, EncodedData]:
    loaded = load_groups([DataSource(str(rows))], **options)
    data = encode_groups(loaded.groups, model.renderer, max_length=256)
    data.skipped = [*loaded.skipped, *data.skipped]
    return loaded.num_rows, data


def test_every_row_is_scored_or_counted_as_skipped(
    model: RewardModel, write_rows: WriteRows, tmp_path: Path
) -> None:
    # T17, T40: 3 rows a prompt, one row of identical answers, one too long for 256 tokens.
    rows = three_rows_a_prompt(30)
    rows.append(rows[0] | {"neg_resp": rows[0]["pos_resp"]})
    rows.append(rows[0] | {"pos_resp": "so long " * 300})
    num_rows, data = encoded(write_rows(rows), model)
    evaluation = evaluate_groups(model, data)
    assert num_rows == 92
    assert evaluation.metrics["num_comparisons"] == len(evaluation.comparisons) == 90
    assert evaluation.metrics["num_comparisons"] + len(evaluation.skipped) == num_rows
    assert len(evaluation.skipped) == 2
    assert evaluation.metrics["num_prompts"] == 30

    results = write_evaluation(evaluation, tmp_path / "out", {"model": "m"})
    on_disk = json.loads((tmp_path / "out" / "results.json").read_text(encoding="utf-8"))
    assert on_disk == json.loads(json.dumps(results, allow_nan=False))
    assert on_disk["skipped"]["count"] == 2
    assert len(on_disk["skipped"]["rows"]) == 2
    assert on_disk["model"] == "m"
    lines = (tmp_path / "out" / "comparisons.jsonl").read_text(encoding="utf-8").splitlines()
    read = [json.loads(line) for line in lines]
    assert [row["result"] for row in read].count("win") == on_disk["wins"]
    assert len({row["row"] for row in read}) == 90, "each line names its own row"
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == [
        "comparisons.jsonl",
        "results.json",
    ]


def test_each_type_pair_of_cvalues_is_a_tag(model: RewardModel, write_rows: WriteRows) -> None:
    _, data = encoded(write_rows(three_rows_a_prompt(10)), model)
    table = evaluate_groups(model, data).metrics["by_tag"]
    assert len(table) == 3
    assert {row["num_comparisons"] for row in table.values()} == {10}


@pytest.mark.parametrize("window", [1, 7, 1000])
def test_windows_order_and_batches_change_nothing(
    window: int, model: RewardModel, write_rows: WriteRows, monkeypatch: pytest.MonkeyPatch
) -> None:
    # T39, T42: float64 rewards move by float32 roundings inside the model at most.
    _, data = encoded(write_rows(three_rows_a_prompt(24)), model)
    expected = evaluate_groups(model, data)
    monkeypatch.setattr(evaluator, "_WINDOW", window)
    reordered = replace(data, groups=data.groups[::-1])
    seen: list[Scored] = []
    other = evaluate_groups(model, reordered, max_tokens=40 * window, progress=seen.extend)
    for key in ("wins", "ties", "losses", "num_comparisons", "num_prompts"):
        assert other.metrics[key] == expected.metrics[key], key
    for key in ("accuracy", "accuracy_se", "mean_margin", "reward_std", "length_baseline"):
        assert other.metrics[key] == pytest.approx(expected.metrics[key], abs=1e-5), key
    assert [item.margin for item in seen] == [row["margin"] for row in other.comparisons]
    by_row = {row["row"]: row for row in expected.comparisons}
    for row in other.comparisons:
        assert row["margin"] == pytest.approx(by_row[row["row"]]["margin"], abs=1e-5)
        assert row["result"] == by_row[row["row"]]["result"]


def test_rows_of_one_prompt_are_one_prompt_however_they_are_grouped(
    model: RewardModel, write_rows: WriteRows
) -> None:
    rows = write_rows(three_rows_a_prompt(8))
    together, apart = (
        evaluate_groups(model, encoded(rows, model, group_by=how)[1]).metrics
        for how in ("prompt", "row")
    )
    assert together["num_prompts"] == apart["num_prompts"] == 8
    assert together["accuracy_ci95"] == pytest.approx(apart["accuracy_ci95"], abs=1e-9)


def group(line: int, outcomes: Sequence[Any]) -> Group:
    """A prompt with three responses; outcomes of 0 against 1, 1 against 2, 0 against 2."""
    texts = ("one", "another one", "a third one here")
    source = Source("f.jsonl", line)
    places = ((0, 1), (1, 2), (0, 2))
    return Group(
        id=str(line),
        source=source,
        prompt=(Message("user", f"question {line}"),),
        responses=tuple(Response((Message("assistant", text),)) for text in texts),
        comparisons=tuple(
            Comparison(a, b, outcome, row=source)
            for (a, b), outcome in zip(places, outcomes, strict=False)
        ),
    )


def test_labelled_ties_are_skipped_and_counted(model: RewardModel) -> None:
    # T38: there is nothing to be right on.
    groups = [group(1, ["a", "tie", "b"]), group(2, ["tie"]), group(3, ["a"])]
    data = encode_groups(groups, model.renderer, max_length=256)
    evaluation = evaluate_groups(model, data)
    assert evaluation.metrics["num_comparisons"] == 3
    assert evaluation.metrics["num_prompts"] == 2
    assert [row.reason for row in evaluation.skipped] == ["labelled tie"] * 2
    assert [str(row.source) for row in evaluation.skipped] == ["f.jsonl:1", "f.jsonl:2"]


def test_the_chosen_one_is_the_better_one_wherever_it_stands(model: RewardModel) -> None:
    # T4: outcome b means that the second of the pair won.
    data = [
        encode_groups([group(1, [outcome])], model.renderer, max_length=256) for outcome in "ab"
    ]
    (first,), (second,) = (evaluate_groups(model, part).comparisons for part in data)
    for what in ("reward", "tokens"):
        assert first[f"chosen_{what}"] == second[f"rejected_{what}"]
        assert first[f"rejected_{what}"] == second[f"chosen_{what}"]
    assert first["margin"] == -second["margin"] != 0
    expected = model.score("question 1", ["one", "another one"])
    assert (first["chosen_reward"], first["rejected_reward"]) == pytest.approx(expected, abs=1e-5)


def test_a_model_that_gives_one_reward_to_all_wins_nothing(tiny_reward: Path) -> None:
    # T38: strictly greater.
    model = load_reward_model(str(tiny_reward))
    assert model.head_weight is not None
    with torch.no_grad():
        model.head_weight.zero_()
    data = encode_groups([group(n, "aab") for n in range(5)], model.renderer, max_length=256)
    metrics = evaluate_groups(model, data).metrics
    assert (metrics["wins"], metrics["ties"], metrics["losses"]) == (0, 15, 0)
    assert metrics["accuracy"] == 0.0
    assert metrics["reward_std"] == 0.0


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: [group(1, ["tie", "tie"])], "every comparison is labelled a tie"),
        (lambda: [], "no rows"),
        (lambda: [group(1, ["a", "b"])], "2 over 4 tokens"),
    ],
)
def test_nothing_to_evaluate_is_an_error_that_says_why(
    make: Callable[[], list[Group]], says: str, model: RewardModel
) -> None:
    max_length = 4 if "over" in says else 256
    data = encode_groups(make(), model.renderer, max_length=max_length)
    with pytest.raises(DataError, match=says):
        evaluate_groups(model, data)


def test_results_that_cannot_be_written_are_one_clear_error(
    model: RewardModel, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    data = encode_groups([group(1, "a")], model.renderer, max_length=256)
    evaluation = evaluate_groups(model, data)
    with pytest.raises(OutputError, match="file/out"):
        write_evaluation(evaluation, tmp_path / "file" / "out", {})


def test_a_result_is_replaced_whole(model: RewardModel, tmp_path: Path) -> None:
    for line, outcomes in ((1, "aab"), (2, "a")):
        data = encode_groups([group(line, outcomes)], model.renderer, max_length=256)
        write_evaluation(evaluate_groups(model, data), tmp_path, {"line": line})
    assert json.loads((tmp_path / "results.json").read_text())["line"] == 2
    assert len((tmp_path / "comparisons.jsonl").read_text().splitlines()) == 1
