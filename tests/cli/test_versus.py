"""`assay versus`: matching by prompt, an account of all rows, and the numbers."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from running import Assay, Models, nothing_left_behind

WriteRows = Callable[..., Path]


def single(number: int, text: str) -> dict[str, Any]:
    return {"prompt": f"question {number}?", "response": text}


@pytest.fixture
def versus(assay: Assay, models: Models, write_rows: WriteRows, tmp_path: Path) -> Any:
    def run(a: list[Any], b: list[Any], *flags: object) -> tuple[Any, dict[str, Any]]:
        files = write_rows(a, "a.jsonl"), write_rows(b, "b.jsonl")
        out = tmp_path / "out.json"
        ran = assay("versus", *files, "--model", models.reward, "--output", out, *flags)
        return ran, json.loads(out.read_text()) if out.exists() else {}

    return run


def test_numbers_are_those_of_score(
    versus: Any, assay: Assay, models: Models, write_rows: WriteRows, tmp_path: Path
) -> None:
    """Rows in three shapes; two answers of B to one prompt, in two rows."""
    a = [single(n, f"an answer {n}") for n in range(6)]
    b: list[Any] = [
        {
            "messages": [
                {"role": "user", "content": f"question {n}?"},
                {"role": "assistant", "content": f"a longer answer {n}"},
            ]
        }
        for n in range(6)
    ]
    b.append({"messages": [{"role": "user", "content": "question 2?"}, b[0]["messages"][1]]})
    ran, found = versus(a, b)
    assert ran.code == 0, ran.err
    scores = []
    for name in ("a", "b"):
        out = tmp_path / f"{name}.scored"
        assay(
            "score",
            "--model",
            models.reward,
            "--input",
            tmp_path / f"{name}.jsonl",
            "--output",
            out,
        )
        scores.append([json.loads(x)["assay"]["scores"][0] for x in out.read_text().splitlines()])
    ours, theirs = scores
    by_prompt = [[theirs[n]] + ([theirs[6]] if n == 2 else []) for n in range(6)]
    difference = [ours[n] - np.mean(by_prompt[n]) for n in range(6)]
    win = [np.mean([ours[n] > one for one in by_prompt[n]]) for n in range(6)]
    assert found["num_prompts"] == 6
    assert found["mean_difference"] == pytest.approx(np.mean(difference), abs=1e-5)
    assert found["win_rate"] == pytest.approx(np.mean(win), abs=1e-12)
    assert [row["win"] for row in found["prompts"]] == pytest.approx(win)
    error = np.std(difference, ddof=1) / np.sqrt(6)
    # t(0.975; 5) = 2.570581836.
    assert found["mean_difference_ci95"][1] - found["mean_difference"] == pytest.approx(
        2.570581836 * error, abs=1e-5
    )
    assert "win rate at equal lengths" in ran.out


def test_swapping_the_policies_turns_every_number(versus: Any) -> None:
    a = [single(n, "word " * (n % 4 + 1)) for n in range(12)]
    b = [single(n, "other " * ((n * 7) % 5 + 1)) for n in range(12)]
    _, there = versus(a, b)
    _, back = versus(b, a, "--overwrite")
    assert there["win_rate"] + back["win_rate"] == pytest.approx(1)
    assert there["mean_difference"] == pytest.approx(-back["mean_difference"])
    assert there["mean_longer"] == -back["mean_longer"]
    if there["length_controlled_win_rate"] is not None:
        both = there["length_controlled_win_rate"] + back["length_controlled_win_rate"]
        assert both == pytest.approx(1, abs=1e-9)


def test_equal_answers_tie(versus: Any) -> None:
    a = [single(n, f"the same {n}") for n in range(5)]
    ran, found = versus(a, a)
    assert (found["wins"], found["ties"], found["losses"]) == (0, 5, 0)
    assert found["win_rate"] == 0.5
    assert found["mean_difference"] == 0.0
    assert "no win rate at equal lengths: all answers to a prompt are equally long" in ran.out


def test_every_row_is_compared_or_named(versus: Any) -> None:
    """A answers 0 to 4, B answers 2 to 6; prompt 3 is answered at too great a length."""
    a = [single(n, "so long " * (400 if n == 3 else 1)) for n in range(5)]
    b: list[Any] = [single(n, "short") for n in range(2, 7)]
    b.append({"prompt": 3, "response": "bad"})
    ran, found = versus(a, b, "--on-bad-row", "skip")
    assert ran.code == 0, ran.err
    assert [row["group"] for row in found["prompts"]] == list(
        dict.fromkeys(row["group"] for row in found["prompts"])
    )
    assert found["num_prompts"] == 2
    assert [len(found[name]["unmatched"]) for name in "ab"] == [2, 2]
    assert [len(found[name]["bad_rows"]) for name in "ab"] == [0, 1]
    assert len(found["skipped"]) == 1
    assert "tokens" in found["skipped"][0]["reason"]
    for name in "ab":
        kept = found["num_prompts"] + len(found["skipped"]) + len(found[name]["unmatched"])
        assert found[name]["rows"] == kept + len(found[name]["bad_rows"])
    assert "2 prompts only in A, 2 prompts only in B" in ran.out


@pytest.mark.parametrize(
    ("a", "b", "says"),
    [
        ([single(1, "x")], [single(2, "x")], "shares no prompt with"),
        ([{"text": "as it stands"}], [single(2, "x")], "is a text without a prompt"),
        ([single(1, "x")], [{"prompt": 3, "response": "x"}, single(1, "y")], "1 bad row"),
    ],
)
def test_what_cannot_be_compared_is_one_clear_error(
    a: list[Any], b: list[Any], says: str, versus: Any, tmp_path: Path
) -> None:
    ran, found = versus(a, b)
    assert ran.code == 2
    assert len(ran.errors) == 1
    assert says in ran.errors[0]
    assert not found


def test_an_output_that_is_there_is_kept(
    versus: Any, assay: Assay, models: Models, tmp_path: Path
) -> None:
    versus([single(1, "x"), single(2, "y z")], [single(1, "x y"), single(2, "y")])
    files = (tmp_path / "a.jsonl", tmp_path / "b.jsonl")
    with nothing_left_behind(tmp_path):
        ran = assay("versus", *files, "--model", models.reward, "--output", tmp_path / "out.json")
    assert ran.code == 2
    assert "is there already" in ran.errors[0]
