"""`assay convert`: files, tables, and what is refused before anything is written."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from running import Assay, Models, cvalues_rows, nothing_left_behind

WriteRows = Callable[..., Path]

TIE = {"prompt": "q", "response_1": "a", "response_2": "b", "preference_strength": 0}


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_rows_of_several_files_in_order(
    assay: Assay, write_rows: WriteRows, tmp_path: Path
) -> None:
    first = write_rows(cvalues_rows(2), "one.jsonl")
    second = write_rows([{"prompt": "q", "chosen": "a", "rejected": "b"}], "two.jsonl")
    output = tmp_path / "made" / "out.jsonl"
    ran = assay("convert", first, second, "--to", "trl", "--output", output)
    assert (ran.code, ran.errors) == (0, [])
    rows = lines(output)
    prompts = [row["prompt"][0]["content"] for row in rows]
    assert prompts == ["question 0?", "question 1?", "q"]
    assert f"3 rows, 3 comparisons: {output}" in ran.out
    [tags] = [line for line in ran.out.splitlines() if "tags" in line]
    assert "not kept" in tags
    assert " 2 " in tags


def test_what_cannot_be_held_is_in_the_table(
    assay: Assay, write_rows: WriteRows, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    rows = write_rows([TIE, TIE | {"preference_strength": -2}, TIE | {"preference_strength": 1}])
    output = tmp_path / "out.jsonl"
    ran = assay("convert", rows.name, "--to", "messages", "--output", output)
    assert ran.code == 0
    answers = [row["messages"][-1] for row in lines(output)]
    assert [row["chosen_value"] for row in answers] == ["a", "b"]
    [tie] = [line for line in ran.out.splitlines() if "tie" in line]
    assert "left out" in tie
    assert "rows.jsonl:1" in tie
    [margin] = [line for line in ran.out.splitlines() if "margin" in line]
    assert " 2 " in margin


def test_every_row_and_answer_is_in_a_number(
    assay: Assay, write_rows: WriteRows, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def group(answers: str, comparisons: list[dict[str, Any]]) -> dict[str, Any]:
        return {
            "assay_group": 1,
            "prompt": [{"role": "user", "content": answers}],
            "responses": [{"messages": [{"role": "assistant", "content": a}]} for a in answers],
            "comparisons": comparisons,
        }

    first = {"a": 0, "b": 1, "outcome": "a"}
    rows = [group("abcd", [first]), group("ab", []), group("xy", [first]), {"assay_group": 1}]
    monkeypatch.chdir(tmp_path)
    argv = ("convert", write_rows(rows).name, "--on-bad-row", "skip", "--overwrite")

    def table(target: str) -> tuple[list[str], str]:
        ran = assay(*argv, "--to", target, "--output", "out.jsonl")
        assert ran.code == 0
        drawn = [line.replace("│", " ").split() for line in ran.out.splitlines() if "│" in line]
        return [" ".join(cells) for cells in drawn], ran.out

    lines, out = table("trl")
    assert lines == [
        "read rows 4",
        "bad rows 1 rows.jsonl:4",
        "no comparison row without a comparison 1 rows.jsonl:2",
        "used rows 2",
        "written rows (trl) 2",
        "comparisons 2",
        "not kept answers in no comparison 2 rows.jsonl:1",
    ]
    assert "nothing" not in out
    # Assay's own rows hold all of it; what is bad is still lost.
    lines, out = table("assay")
    assert lines[2:] == ["used rows 3", "written rows (assay) 3", "comparisons 2"]
    assert "nothing" not in out


def test_there_and_back(assay: Assay, write_rows: WriteRows, tmp_path: Path) -> None:
    rows = write_rows(cvalues_rows(3))
    groups, back = tmp_path / "groups.jsonl", tmp_path / "back.jsonl"
    ran = assay("convert", rows, "--to", "assay", "--output", groups)
    assert "nothing was left out or lost" in ran.out
    assay("convert", groups, "--to", "cvalues", "--output", back)
    stripped = [{key: value.strip() for key, value in row.items()} for row in cvalues_rows(3)]
    assert lines(back) == stripped


def test_a_json_file_is_a_list(assay: Assay, write_rows: WriteRows, tmp_path: Path) -> None:
    output = tmp_path / "out.json"
    assay("convert", write_rows(cvalues_rows(2)), "--to", "hh", "--output", output)
    rows = json.loads(output.read_text(encoding="utf-8"))
    assert [row["chosen"] for row in rows] == [
        f"\n\nHuman: question {number}?\n\nAssistant: a good answer {number}" for number in (0, 1)
    ]


def test_llamafactory_makes_the_file_known_beside_others(
    assay: Assay, write_rows: WriteRows, tmp_path: Path
) -> None:
    listed = tmp_path / "dataset_info.json"
    listed.write_text('{"other": {"file_name": "other.json"}}', encoding="utf-8")
    system = {"messages": [{"role": "system", "value": "s"}, {"role": "user", "value": "q"}]}
    answers = {"role": "assistant", "chosen_value": "a", "rejected_value": "b"}
    system["messages"].append(answers)
    rows = write_rows([system])
    output = tmp_path / "pairs.json"
    argv = ("convert", rows, "--to", "llamafactory", "--output", output)
    assert assay(*argv).code == 0
    columns = {"messages": "conversations", "chosen": "chosen", "rejected": "rejected"}
    entry = {
        "file_name": "pairs.json",
        "formatting": "sharegpt",
        "ranking": True,
        "columns": columns | {"system": "system"},
    }
    other = {"other": {"file_name": "other.json"}}
    assert json.loads(listed.read_text(encoding="utf-8")) == other | {"pairs": entry}
    output.unlink()
    with nothing_left_behind(tmp_path):
        ran = assay(*argv)
    assert ran.code == 2
    assert "has an entry 'pairs' already" in ran.err
    assert assay(*argv, "--overwrite").code == 0


@pytest.mark.parametrize("content", ["[]", "{", "\x00"])
def test_a_broken_list_of_data_sets_stops_before_anything_is_written(
    assay: Assay, write_rows: WriteRows, tmp_path: Path, content: str
) -> None:
    (tmp_path / "dataset_info.json").write_text(content, encoding="utf-8")
    rows = write_rows(cvalues_rows(1))
    with nothing_left_behind(tmp_path):
        ran = assay("convert", rows, "--to", "llamafactory", "--output", tmp_path / "x.json")
    assert ran.code == 2
    assert "is not a JSON object" in ran.err


def test_bad_rows(assay: Assay, write_rows: WriteRows, tmp_path: Path) -> None:
    rows = write_rows([*cvalues_rows(1), {"prompt": 3, "pos_resp": "a", "neg_resp": "b"}])
    output = tmp_path / "new" / "out.jsonl"
    with nothing_left_behind(tmp_path):
        ran = assay("convert", rows, "--to", "trl", "--output", output)
    assert ran.code == 2
    assert "rows.jsonl:2" in ran.err
    ran = assay("convert", rows, "--to", "trl", "--output", output, "--on-bad-row", "skip")
    assert ran.code == 0
    assert len(lines(output)) == 1
    assert lines(output.with_name("out.jsonl.bad.jsonl"))[0]["what"].startswith("'prompt' is")


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["--to", "tlr", "--output", "x.jsonl"], "did you mean 'trl'"),
        (["--to", "trl", "--output", "x.csv"], "'.csv' files are not written"),
        (["--to", "trl", "--output", "."], "is a directory"),
        (["--to", "trl", "--output", "rows.jsonl"], "is the input, which is never overwritten"),
        (["--to", "trl", "--output", "./rows.jsonl", "--overwrite"], "is the input"),
        (["--to", "trl", "--output", "there.jsonl"], "is there already"),
        (["--to", "trl", "--output", "rows.jsonl/x.jsonl"], "cannot be made: "),
        (["--to", "llamafactory", "--output", "dataset_info.json"], "the list of data sets itself"),
        (["--to", "trl", "--output", "x.jsonl", "--seq-length", "9"], "is for --to mindrecord"),
        (["--to", "mindrecord", "--output", "x.mindrecord"], "--model is missing"),
        (["--to", "cvalues", "--output", "x.jsonl", "--format", "no"], "unknown format 'no'"),
    ],
)
def test_mistakes(
    assay: Assay,
    write_rows: WriteRows,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    argv: list[str],
    said: str,
) -> None:
    write_rows(cvalues_rows(1))
    (tmp_path / "there.jsonl").touch()
    monkeypatch.chdir(tmp_path)
    with nothing_left_behind(tmp_path):
        ran = assay("convert", "rows.jsonl", *argv)
    assert ran.code == 2
    assert said in ran.err
    assert len(ran.errors) == 1


def test_nothing_that_can_be_written(assay: Assay, write_rows: WriteRows, tmp_path: Path) -> None:
    rows = write_rows([TIE, TIE])
    with nothing_left_behind(tmp_path):
        ran = assay("convert", rows, "--to", "trl", "--output", tmp_path / "x.jsonl")
    assert ran.code == 2
    assert "nothing of 2 rows can be written as trl (tie: 2)" in ran.err


def test_rated_rows_are_compared_first(assay: Assay, write_rows: WriteRows, tmp_path: Path) -> None:
    marks = ("correctness", "coherence", "complexity", "verbosity")
    rows = write_rows(
        [
            {"prompt": "q", "response": answer, "helpfulness": mark, **dict.fromkeys(marks, 2)}
            for answer, mark in (("a", 1), ("b", 4))
        ]
    )
    output = tmp_path / "out.jsonl"
    assert assay("convert", rows, "--to", "trl", "--output", output).code == 0
    [row] = lines(output)
    assert (row["chosen"][0]["content"], row["margin"]) == ("b", 3.0)


def test_gaps_in_a_column_are_said(assay: Assay, write_rows: WriteRows, tmp_path: Path) -> None:
    pair = {"prompt": "q", "chosen": "a", "rejected": "b"}
    rows = write_rows([pair, pair | {"margin": 1}])
    ran = assay("convert", rows, "--to", "trl", "--output", tmp_path / "out.jsonl")
    assert "warning: 1 of 2 rows have 'margin'" in ran.err


def test_mindrecord(assay: Assay, models: Models, write_rows: WriteRows, tmp_path: Path) -> None:
    pytest.importorskip("mindspore", reason="MindSpore is not installed: assay[mindrecord]")
    rows = write_rows(cvalues_rows(2))
    output = tmp_path / "x.mindrecord"
    argv = ("convert", rows, "--to", "mindrecord", "--output", output, "--model", models.base)
    more = ("--template", "cvalues-zh", "--seq-length", 200)
    ran = assay(*argv, *more, "--padding-side", "left")
    assert ran.code == 2
    assert "only with padding on the right" in ran.err
    ran = assay(*argv, *more, "--padding-side", "right", "--pad-token-id", 0)
    assert (ran.code, ran.errors) == (0, [])
    assert (
        "根据以下问题，写一个合适的回答。\n\n### 问题：\nquestion 0?\n\n### 回答：\na good"
        in ran.out
    )
    assert "--- loss_mask: 1 from token " in ran.out
    assert f"count 2, skipped 0: {output} and x.mindrecord.db" in ran.out
    assert output.with_name("x.mindrecord.db").exists()


def test_without_mindspore_the_extra_is_named(
    assay: Assay,
    models: Models,
    write_rows: WriteRows,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "mindspore.mindrecord", None)
    rows = write_rows(cvalues_rows(1))
    argv = ("--model", models.base, "--template", "cvalues-zh", "--seq-length", 100)
    output = tmp_path / "x.mindrecord"
    with nothing_left_behind(tmp_path):
        ran = assay("convert", rows, "--to", "mindrecord", "--output", output, *argv)
    assert ran.code == 2
    assert "pip install 'assay[mindrecord]'" in ran.err


def test_real_files(assay: Assay, shared_data: Callable[[str], Path], tmp_path: Path) -> None:
    """Five of the 1,800 rows of hh-rlhf do not alternate or answer in several turns."""
    output = tmp_path / "out.json"
    ran = assay(
        "convert", shared_data("hh_harmless.jsonl"), "--to", "llamafactory", "--output", output
    )
    assert "1795 rows, 1795 comparisons" in ran.out
    again = tmp_path / "again.jsonl"
    assay("convert", output, "--to", "hh", "--output", again)
    originals = lines(shared_data("hh_harmless.jsonl"))
    first, written = originals[0], lines(again)
    assert written[0]["chosen"] == first["chosen"].rstrip()
    assert len(written) == 1795
