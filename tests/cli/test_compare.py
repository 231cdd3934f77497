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
    place: Path,
    margins: list[float],
    *,
    input: str = "rows.jsonl",
    tagged: bool = False,
    **about: Any,
) -> Path:
    """The two files that `assay eval` would write; two comparisons a prompt."""
    place.mkdir()
    lines = [
        {
            "row": f"{input}:{number + 1}",
            "group": f"prompt {number // 2}",
            "result": "win" if margin > 0 else "loss" if margin < 0 else "tie",
            "margin": margin,
            "tags": {"part": "even" if number % 2 == 0 else "[odd]"} if tagged else {},
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
        place = evaluation(tmp_path / name, [margin], num_comparisons=3)
        lines = place / "comparisons.jsonl"
        lines.write_text(lines.read_text() * 3)
        places.append(place)
    out = tmp_path / "c.json"
    assay("compare", *places, "--output", out)
    assert json.loads(out.read_text())["others"][0]["paired"]["lost"] == 3


def test_differences_by_tag_by_hand(assay: Assay, tmp_path: Path) -> None:
    """Even rows 1, 3, 5: lost, same, gained, of three prompts; odd rows: one gained of three."""
    a = evaluation(tmp_path / "a", [1.0, -1, 1, 1, -1, -1], tagged=True)
    b = evaluation(tmp_path / "b", [-1.0, -1, 1, 1, 1, 1], tagged=True)
    out = tmp_path / "c.json"
    ran = assay("compare", a, b, "--output", out)
    assert ran.code == 0, ran.err
    by_tag = json.loads(out.read_text())["others"][0]["by_tag"]
    even, odd = by_tag["even"], by_tag["[odd]"]
    assert (even["num_comparisons"], even["num_prompts"]) == (3, 3)
    assert (even["first"], even["other"]) == pytest.approx((2 / 3, 2 / 3))
    assert (even["gained"], even["lost"], even["difference"]) == (1, 1, 0.0)
    assert (odd["gained"], odd["lost"]) == (1, 0)
    assert odd["difference"] == pytest.approx(1 / 3, abs=1e-12)
    low, high = odd["difference_ci95"]
    assert 0 == low < 1 / 3 < high <= 1
    table = ran.out[ran.out.index("tags: ") :]
    assert table.index("even") < table.index("[odd]"), "the greatest loss first"
    assert "+0.3333" in table


def test_models_of_one_name_are_told_apart(assay: Assay, tmp_path: Path) -> None:
    a, b = (evaluation(tmp_path / name, [1.0, -1], model="runs/m") for name in "ab")
    out = tmp_path / "c.json"
    assert assay("compare", a, b, "--output", out).code == 0
    found = json.loads(out.read_text())
    assert (found["first"]["model"], found["others"][0]["model"]) == (
        f"runs/m ({a})",
        f"runs/m ({b})",
    )


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
    a, b = (evaluation(tmp_path / name, [1.0, -1]) for name in "ab")
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
    results, lines = (a / "results.json").read_text(), (b / "comparisons.jsonl").read_text()
    (a / "comparisons.jsonl").write_text(lines.splitlines()[0] + "\n")
    assert "holds 1 comparisons, and results.json beside it 2" in assay("compare", a, b).errors[0]
    for broken in ("lost", "NaN", "9", "null"):
        (a / "comparisons.jsonl").write_text(lines.replace('"win"', f'"{broken}"'))
        assert "comparisons.jsonl:1: is no line" in assay("compare", a, b).errors[0]
    (a / "comparisons.jsonl").write_bytes(b"\xff\x00\n")
    assert "comparisons.jsonl:1: is not JSON" in assay("compare", a, b).errors[0]
    for field in ("accuracy_ci95", "accuracy", "num_comparisons"):
        (a / "results.json").write_text(json.dumps(json.loads(results) | {field: None}))
        assert "is no results.json" in assay("compare", a, b).errors[0]
    (a / "results.json").write_text(results)
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


@pytest.mark.slow
def test_the_evaluation_of_a_training_run_is_of_the_same_data(
    assay: Assay, models: Models, write_rows: WriteRows, tmp_path: Path
) -> None:
    """Rows come from the store of a run, and from the file: the same fingerprint, the same rows."""
    train, test = write_rows(cvalues_rows(8), "train.jsonl"), tmp_path / "test.jsonl"
    rows = [row | {"prompt": f"new {n % 4}?"} for n, row in enumerate(cvalues_rows(9))]
    write_rows([*rows, rows[0] | {"neg_resp": rows[0]["pos_resp"]}], "test.jsonl")
    run = tmp_path / "run"
    trained = assay(
        *("train", "--model.path", models.base, "--data.train", train, "--data.eval", test),
        *("--train.max_length", 128, "--train.max_steps", 1, "--output_dir", run),
        *("--data.max_dropped", 0.2),
    )
    assert trained.code == 0, trained.err
    again = tmp_path / "again"
    assert assay("eval", "--model", run, "--input", test, "--output", again).code == 0
    out = tmp_path / "c.json"
    ran = assay("compare", run / "eval" / "test", again, "--output", out)
    assert ran.code == 0, ran.err
    other = json.loads(out.read_text())["others"][0]
    assert other["paired"]["num_comparisons"] == 9
    assert (other["only_first"], other["only_other"], other["flipped"]) == ([], [], [])


@pytest.mark.slow
def test_stored_scores_of_two_models_are_compared_by_their_rows(
    assay: Assay, models: Models, write_rows: WriteRows, tmp_path: Path
) -> None:
    rows = write_rows(cvalues_rows(6))
    fewer = write_rows(cvalues_rows(5), "fewer.jsonl")
    for name, model, file in (
        ("a", models.reward, rows),
        ("b", models.adapter, rows),
        ("c", models.reward, fewer),
    ):
        scored = tmp_path / f"{name}.jsonl"
        assert assay("score", "--model", model, "--input", file, "--output", scored).code == 0
        assert assay("eval", "--scores", scored, "--output", tmp_path / name).code == 0
    ran = assay("compare", tmp_path / "a", tmp_path / "b")
    assert ran.code == 0, ran.err
    assert "6 comparisons of 6 prompts scored by both" in ran.out
    ran = assay("compare", tmp_path / "a", tmp_path / "c")
    assert ran.code == 2
    assert "rows_sha256 is" in ran.errors[0]
    assert str(tmp_path / "c.jsonl") in ran.errors[0]
    plain = tmp_path / "plain"
    assert assay("eval", "--model", models.reward, "--input", rows, "--output", plain).code == 0
    ran = assay("compare", plain, tmp_path / "a")
    assert "give `assay eval --scores` those of both" in ran.errors[0]
