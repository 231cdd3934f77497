"""Rewards beside rows of preferences: read, accounted for, and evaluated without a model."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from assay.data.sources import DataSource
from assay.errors import DataError
from assay.evaluate.evaluator import Evaluation, evaluate_answers
from assay.evaluate.stored import StoredPairs, read_stored

WriteRows = Callable[..., Path]


def pair(number: int, chosen: float, rejected: float, /, **more: Any) -> dict[str, Any]:
    return {
        "prompt": f"question {number}?",
        "chosen": f"yes {number}",
        "rejected": f"no {number} at all",
        "assay": {"scores": [chosen, rejected], "num_tokens": [7, 9]},
        **more,
    }


@pytest.fixture
def evaluate(write_rows: WriteRows) -> Callable[..., tuple[StoredPairs, Evaluation]]:
    def run(rows: list[Any], **options: Any) -> tuple[StoredPairs, Evaluation]:
        source = DataSource(str(write_rows(rows)), label=options.pop("label", None))
        stored = read_stored(source, **options)
        return stored, evaluate_answers(stored.answers, stored.skipped)

    return run


def test_metrics_by_hand(evaluate: Any) -> None:
    """Margins 1, 0, -2, 3: two wins, a tie and a loss; no length of a prompt is known."""
    rows = [pair(n, 1.0 + margin, 1.0) for n, margin in enumerate((1, 0, -2, 3))]
    stored, found = evaluate(rows)
    metrics, details = found.metrics, found.details
    assert (metrics["wins"], metrics["ties"], metrics["losses"]) == (2, 1, 1)
    assert metrics["mean_margin"] == pytest.approx(0.5)
    assert metrics["length_baseline"] == 0.0  # 7 tokens are fewer than 9.
    assert details["shortcuts"]["length in tokens"]["direction"] == "shorter wins (tokens)"
    assert "by_length" not in details
    assert "position" not in details["shortcuts"]
    assert stored.num_rows == 4 == metrics["num_comparisons"]
    json.dumps(metrics | details, allow_nan=False)


def test_without_token_counts_nothing_is_said_of_lengths(evaluate: Any) -> None:
    rows = [pair(n, 1.0, 0.0) for n in range(3)]
    del rows[1]["assay"]["num_tokens"]
    _, found = evaluate(rows)
    assert found.metrics["length_baseline"] is None
    assert "length in tokens" not in found.details["shortcuts"]
    assert found.comparisons[1]["chosen_tokens"] is None
    assert found.comparisons[0]["chosen_tokens"] == 7


def test_rewards_stand_in_the_order_of_the_row(evaluate: Any) -> None:
    """The better answer is the second one; its reward is the second, too."""
    row = {"prompt": "q?", "response_0": "a", "response_1": "b", "better_response_id": 1}
    row |= {"safer_response_id": 0}
    rows = [row | {"prompt": f"{n}?", "assay": {"scores": [0.5, 2.0]}} for n in range(2)]
    _, found = evaluate(rows)
    assert found.metrics["wins"] == 2
    assert found.comparisons[0]["margin"] == 1.5
    _, found = evaluate(rows, label="safer")
    assert found.metrics["losses"] == 2


def test_rated_rows_are_compared_as_ever(evaluate: Any) -> None:
    """A rated answer a row: three to one prompt, two of them rated alike."""
    rows = [
        {"prompt": "q?", "response": f"a{n}", "helpfulness": rating, "correctness": 3}
        | {"coherence": 3, "complexity": 3, "verbosity": 3, "assay": {"scores": [reward]}}
        for n, (rating, reward) in enumerate([(1, 0.5), (4, 0.7), (4, 0.1)])
    ]
    _, found = evaluate(rows)
    assert found.metrics["num_comparisons"] == 2
    assert (found.metrics["wins"], found.metrics["losses"]) == (1, 1)
    assert [row.reason for row in found.skipped] == ["labelled tie"]
    agreement = found.details["rank_agreement"]["helpfulness"]
    # Rewards 0.5, 0.7, 0.1 against 1, 4, 4: one pair in order, one against it, one tie.
    assert agreement["kendall"] == pytest.approx(0.0, abs=1e-12)


def test_lines_of_comparisons_keep_their_row_prompt_and_tags(evaluate: Any) -> None:
    line = {
        "row": "f.jsonl:7",
        "group": "g1",
        "result": "win",
        "margin": 1.0,
        "chosen_reward": 2.0,
        "rejected_reward": 1.0,
        "chosen_tokens": 5,
        "rejected_tokens": 6,
        "tags": {"kind": "x", "language": "French"},
        "prompt": [{"role": "user", "content": "q?"}],
        "chosen": [{"role": "assistant", "content": "a"}],
        "rejected": [{"role": "assistant", "content": "b"}],
    }
    other = line | {"row": "f.jsonl:9", "rejected": [{"role": "assistant", "content": "c"}]}
    _, found = evaluate([line, other | {"rejected_reward": 3.0}])
    assert [row["row"] for row in found.comparisons] == ["f.jsonl:7", "f.jsonl:9"]
    assert found.metrics["by_tag"]["x/French"]["num_comparisons"] == 2
    assert found.metrics["num_prompts"] == 1
    assert found.comparisons[0]["group"] == "g1"
    assert list(found.details["by_language"]) == ["French"]


def test_every_row_is_scored_or_named(evaluate: Any, write_rows: WriteRows) -> None:
    """7 rows = 2 scored + 2 skipped + 3 bad; the bad ones name field and line."""
    rows: list[Any] = [pair(n, 1.0, 0.0) for n in range(7)]
    rows[1]["rejected"] = rows[1]["chosen"]
    rows[2] = rows[3] | {"chosen": rows[3]["rejected"]}
    rows[4]["assay"] = {"scores": [1.0]}
    rows[5]["assay"] = {"scores": [1.0, "high"]}
    del rows[6]["assay"]
    with pytest.raises(DataError, match="3 bad rows") as caught:
        evaluate(rows)
    for says in (
        "rows.jsonl:5: 'scores' holds 1 scores, not 2",
        "rows.jsonl:6: 'scores[1]' is text",
        "rows.jsonl:7: holds no rewards",
    ):
        assert says in str(caught.value)
    stored, found = evaluate(rows, on_bad_row="skip")
    assert [row.reason for row in found.skipped] == ["identical answers"] * 2
    assert len(stored.bad_rows) == 3
    assert stored.num_rows == found.metrics["num_comparisons"] + len(found.skipped) + 3 == 7
    stored, found = evaluate(rows, limit=2)
    assert (stored.num_rows, found.metrics["num_comparisons"]) == (2, 1)


def test_an_answer_that_is_compared_with_itself_is_no_tie(evaluate: Any) -> None:
    """As with a model: of three ranked answers two are the same, and two comparisons are left."""
    answers = [("good", 1), ("good", 2), ("bad", 3)]
    row = {
        "prompt": "q?",
        "answers": [{"answer": text, "rank": rank} for text, rank in answers],
        "assay": {"scores": [2.0, 2.0, 1.0]},
    }
    _, found = evaluate([row])
    assert (found.metrics["wins"], found.metrics["ties"], found.metrics["losses"]) == (2, 0, 0)
    assert [skipped.reason for skipped in found.skipped] == ["identical answers"]
    assert found.details["calibration"]["bins"][0]["num_comparisons"] == 2


PKU = {
    "prompt": "q?",
    "response_0": "a",
    "response_1": "b",
    "is_response_0_safe": True,
    "is_response_1_safe": True,
    "better_response_id": 1,
    "safer_response_id": 1,
}


@pytest.mark.parametrize(
    ("row", "says"),
    [
        (pair(1, 1, 0) | {"assay": {"scores": [1, 0], "num_tokens": [7]}}, "1 counts of 2 rewards"),
        (pair(1, 1, 0) | {"assay": {"scores": [1, 0], "num_tokens": [7, 1.5]}}, "whole numbers"),
        (PKU | {"chosen_reward": 1.0, "rejected_reward": 0.0}, "without one chosen and one"),
        (pair(1, 1, 0) | {"assay": None, "chosen_reward": 1.0}, "holds no rewards"),
        (
            pair(1, 1, 0)
            | {"assay": None, "chosen_reward": 1.0, "rejected_reward": 0.0, "chosen_tokens": "7"},
            "'chosen_tokens' is text",
        ),
        (
            pair(1, 1, 0)
            | {"assay": None, "chosen_reward": 1.0, "rejected_reward": 0.0, "row": "nowhere"}
            | {"group": "g", "result": "win", "margin": 1.0, "tags": {}},
            "'row' is 'nowhere', not FILE:LINE",
        ),
    ],
)
def test_rewards_that_do_not_fit_their_row_are_refused(
    row: dict[str, Any], says: str, evaluate: Any
) -> None:
    with pytest.raises(DataError, match=r"1 bad row: .*rows\.jsonl:1: ") as caught:
        evaluate([row], label="better" if row.keys() >= PKU.keys() else None)
    assert says in str(caught.value)


def test_rows_that_all_lack_the_same_are_said_once(evaluate: Any) -> None:
    rows = [pair(n, 1.0, 0.0) for n in range(4)]
    for row in rows:
        del row["assay"]
    with pytest.raises(DataError, match=r"rows\.jsonl:1: .*\(as in 3 other rows\)") as caught:
        evaluate(rows)
    assert str(caught.value).count("holds no rewards") == 1


def test_a_reward_that_is_not_finite_is_a_bad_row(evaluate: Any) -> None:
    for bad in (float("nan"), float("inf"), None, True):
        with pytest.raises(DataError, match=r"rows\.jsonl:2"):
            evaluate([pair(0, 1.0, 0.0), pair(1, bad, 0.0)])


def test_an_answer_that_stands_twice_has_its_first_reward(
    evaluate: Any, caplog: pytest.LogCaptureFixture
) -> None:
    rows = [pair(0, 1.0, 0.0), pair(0, 5.0, 2.0, rejected="another")]
    with caplog.at_level(logging.WARNING, logger="assay"):
        _, found = evaluate(rows)
    assert [row["margin"] for row in found.comparisons] == [1.0, -1.0]
    assert "1 answers have another reward in a later row" in caplog.text


def test_the_rows_have_a_fingerprint_of_their_own(evaluate: Any) -> None:
    prints = [
        evaluate([pair(0, reward, 0.0, **more)])[0].rows_fingerprint
        for reward, more in ((1.0, {}), (2.0, {}), (1.0, {"chosen": "yes!"}))
    ]
    assert prints[0] == prints[1] != prints[2]


def test_a_file_without_comparisons_or_texts_is_refused(evaluate: Any) -> None:
    with pytest.raises(DataError, match="without comparisons"):
        evaluate([{"prompt": "q", "response": "a", "assay": {"scores": [1.0]}}])
    with pytest.raises(DataError, match="no usable row is left of 1"):
        evaluate([pair(0, 1.0, 0.0, rejected="yes 0")])
