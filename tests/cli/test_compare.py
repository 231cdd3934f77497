"""`assay compare`: what is paired, what is refused, and what is shown."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from running import Assay, Models, cvalues_rows, nothing_left_behind

WriteRows = Callable[..., Path]


def evaluation(
    place: Path, margins: list[float], *, input: str = "rows.jsonl", **about: Any
) -> Path:
    """The two files that `assay eval` would write; two comparisons a prompt."""
    place.mkdir()
    lines = [
        {
            "row": f"{input}:{number + 1}",
            "group": f"prompt {number // 2}",
            "result": "win" if margin > 0 else "loss" if margin < 0 else "tie",
            "margin": margin,
            "prompt": [{"role": "user", "content": f"question [{number // 2}]"}],
            "chosen": [{"role": "assistant", "content": f"good {number}"}],
            "rejected": [{"role": "assistant", "content": f"bad {number}"}],
        }
        for number, margin in enumerate(margins)
    ]
    (place / "comparisons.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    results = {
        "model": place.name,
        "input": input,
        "input_sha256": "abc",
        "split": None,
        "label": None,
        "accuracy": sum(margin > 0 for margin in margins) / len(margins),
        "accuracy_ci95": [0.1, 0.9],
        "num_comparisons": len(margins),
        "num_prompts": len(margins) // 2,
        **about,
    }
    (place / "results.json").write_text(json.dumps(results))
    return place


def test_paired_numbers_by_hand(assay: Assay, tmp_path: Path) -> None:
    """Of six, the second gains rows 3 and 5 and loses row 2; a tie is no win."""
    a = evaluation(tmp_path / "a", [1.0, 1, -1, 1, 0, -1])
    b = evaluation(tmp_path / "b", [2.0, -1, 1, 1, 3, -1], input="elsewhere/rows.jsonl")
    out = tmp_path / "c.json"
    ran = assay("compare", a, b / "results.json", a, "--output", out)
    assert ran.code == 0, ran.err
    found = json.loads(out.read_text())
    paired = found["others"][0]["paired"]
    assert (paired["num_comparisons"], paired["num_prompts"]) == (6, 3)
    assert (paired["gained"], paired["lost"]) == (2, 1)
    assert paired["difference"] == pytest.approx(1 / 6, abs=1e-12)
    assert paired["mcnemar_p"] == pytest.approx(1.0)
    assert [row["row"] for row in found["others"][0]["flipped"]] == [
        f"rows.jsonl:{line}" for line in (2, 3, 5)
    ]
    assert found["others"][1]["paired"]["difference"] == 0.0
    assert "question [0]" in ran.out, "brackets are no markup"
    assert "3 flipped" in ran.out
    again = tmp_path / "again.json"
    assay("compare", a, b, a, "--output", again)
    assert json.loads(again.read_text())["others"][0]["paired"] == paired, "the seed is fixed"


def test_rows_that_one_did_not_score_are_counted_and_named(assay: Assay, tmp_path: Path) -> None:
    a = evaluation(tmp_path / "a", [1.0, 1, -1, 1])
    b = evaluation(tmp_path / "b", [1.0, 1, -1])
    out = tmp_path / "c.json"
    ran = assay("compare", a, b, "--output", out)
    other = json.loads(out.read_text())["others"][0]
    assert (other["only_first"], other["only_other"]) == (["rows.jsonl:4"], [])
    assert "1 only by the first" in ran.out


def test_a_row_that_stands_twice_is_paired_twice(assay: Assay, tmp_path: Path) -> None:
    places = []
    for name, margin in (("a", 1.0), ("b", -1.0)):
        place = evaluation(tmp_path / name, [margin])
        lines = place / "comparisons.jsonl"
        lines.write_text(lines.read_text() * 3)
        places.append(place)
    out = tmp_path / "c.json"
    assay("compare", *places, "--output", out)
    assert json.loads(out.read_text())["others"][0]["paired"]["lost"] == 3


@pytest.mark.parametrize(
    ("field", "value"), [("input_sha256", "def"), ("split", "test"), ("label", "safer")]
)
def test_other_data_is_refused(field: str, value: str, assay: Assay, tmp_path: Path) -> None:
    a = evaluation(tmp_path / "a", [1.0, -1])
    b = evaluation(tmp_path / "b", [1.0, -1], **{field: value})
    with nothing_left_behind(tmp_path):
        ran = assay("compare", a, b, "--output", tmp_path / "c.json")
    assert ran.code == 2
    [error] = ran.errors
    assert str(a) in error
    assert str(b) in error
    assert f"{field} is {value} here" in error
    assert "evaluate both on the same --input" in error


def test_what_is_no_evaluation_is_one_clear_error(assay: Assay, tmp_path: Path) -> None:
    a = evaluation(tmp_path / "a", [1.0, -1])
    run = tmp_path / "run"
    (run / "eval").mkdir(parents=True)
    evaluation(run / "eval" / "test", [1.0])
    for argv, says in (
        ((a,), "compare takes two results or more"),
        ((a, tmp_path / "none"), "no results.json here"),
        ((a, run), f"name {run / 'eval' / 'test'}"),
    ):
        ran = assay("compare", *argv)
        assert ran.code == 2
        assert says in ran.errors[0]
    (a / "comparisons.jsonl").unlink()
    assert "comparisons.jsonl is missing" in assay("compare", a, a).errors[0]
    (a / "comparisons.jsonl").write_text('{"row": "x:1"}\n')
    assert "comparisons.jsonl:1: is no line" in assay("compare", a, a).errors[0]
    (a / "results.json").write_text("[")
    assert "is not JSON" in assay("compare", a, a).errors[0]


def test_real_evaluations(
    assay: Assay, models: Models, write_rows: WriteRows, tmp_path: Path
) -> None:
    rows = write_rows(cvalues_rows(12))
    for name, flags in (("a", ()), ("b", ("--engine", "padded", "--max-length", 50))):
        ran = assay(
            *("eval", "--model", models.reward, "--input", rows, "--output", tmp_path / name),
            *flags,
        )
        assert ran.code == 0, ran.err
    out = tmp_path / "c.json"
    ran = assay("compare", tmp_path / "a", tmp_path / "b", "--output", out)
    assert ran.code == 0, ran.err
    other = json.loads(out.read_text())["others"][0]
    skipped = json.loads((tmp_path / "b" / "results.json").read_text())["skipped"]["count"]
    assert other["paired"]["num_comparisons"] + len(other["only_first"]) == 12
    assert len(other["only_first"]) == skipped
    assert other["flipped"] == []
