"""`assay audit`: the verdict first, the table under its names, and nothing overwritten."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from running import Assay, Models, cvalues_rows, nothing_left_behind

WriteRows = Callable[..., Path]

REPEATED = {"prompt": "Why?", "chosen": "Because.", "rejected": "No idea."}


def test_the_verdict_comes_first_and_the_exit_code_is_zero(
    assay: Assay, write_rows: WriteRows
) -> None:
    rows = write_rows([REPEATED] * 4)
    ran = assay("audit", rows)
    assert (ran.code, ran.err) == (0, "")
    lines = ran.out.splitlines()
    assert lines[0] == "safe to train: no, because 3 of 4 rows repeat earlier ones (75.0%)"
    assert lines[1].startswith("  1. [stop] ")
    assert "rows.jsonl:2" in lines[2]
    assert str(rows.parent) not in ran.out  # places are short


def test_strict_exits_with_one_on_no_only(assay: Assay, write_rows: WriteRows) -> None:
    assert assay("audit", write_rows([REPEATED] * 4), "--strict").code == 1
    care = write_rows(cvalues_rows(5), "care.jsonl")
    ran = assay("audit", care, "--strict")
    assert (ran.code, ran.out.splitlines()[0][:29]) == (0, "safe to train: yes, with care")


def test_the_length_table(assay: Assay, write_rows: WriteRows) -> None:
    first = write_rows([REPEATED, REPEATED | {"chosen": "ab"}], "a.jsonl")
    second = write_rows([REPEATED], "b.jsonl")
    ran = assay("audit", first, second)
    columns = "count prompt_max prompt_avg chosen_max chosen_avg reject_max reject_avg"
    for column in [*columns.split(), "prompt_p50", "reject_p99"]:
        assert column in ran.out
    rows = [line for line in ran.out.splitlines() if "│ a.jsonl" in line and "5.00" in line]
    assert [cell.strip() for cell in rows[0].strip("│").split("│")] == [
        "a.jsonl",
        "2",
        "4",
        "4.00",
        "8",
        "5.00",
        "8",
        "8.00",
    ]


BIG = {"prompt": "Why?", "chosen": "x" * 123456, "rejected": "y"}


def test_eighty_columns_cut_no_number(
    assay: Assay, write_rows: WriteRows, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = "a-file-of-rows-with-a-name-that-is-far-too-long-for-half-a-line-of-eighty.jsonl"
    files = write_rows([REPEATED] * 150 + [BIG, {"prompt": 3}], name), write_rows([BIG], "b.jsonl")
    monkeypatch.setenv("COLUMNS", "80")
    ran = assay("audit", *files)
    assert max(map(len, ran.out.splitlines())) <= 80
    cells = {cell.strip() for line in ran.out.splitlines() for cell in line.split("│")}
    # Rows and used of the first file; the longest answer; the mean of it and 150 of 8 characters.
    assert {"152", "151", "123456", f"{(150 * 8 + 123456) / 151:.2f}"} <= cells
    assert {"150 of 152 rows", "1 of 153 rows"} <= cells
    assert not any("…" in cell for cell in cells)


def test_the_account_and_the_flaws(assay: Assay, write_rows: WriteRows) -> None:
    good = [REPEATED | {"prompt": f"q {number}"} for number in range(10)]
    bad = [{"prompt": "q", "chosen": "a"}, {"prompt": 3, "chosen": "a", "rejected": "b"}]
    ran = assay("audit", write_rows([*good, bad[0], *good, bad[1], bad[0]]))
    lines = [" ".join(line.replace("│", " ").split()) for line in ran.out.splitlines()]
    assert "rows.jsonl train 23 20 3 0" in lines
    assert any(
        line.startswith("2 rows.jsonl:11 there is no field 'rejected', only 'prompt', 'chosen';")
        for line in lines
    )
    assert any(line.startswith("1 rows.jsonl:22 'prompt' is a number") for line in lines)


def test_json_is_the_whole_report_and_nothing_else(assay: Assay, write_rows: WriteRows) -> None:
    rows = write_rows([REPEATED, REPEATED])
    report = json.loads(assay("audit", rows, "--json").out)
    assert report["verdict"]["safe_to_train"] == "no"
    assert report["lengths"][0]["prompt_avg"] == 4.0
    assert report["files"][0]["file"] == str(rows)
    assert report["findings"][2]["examples"] == []
    assert report["unit"] == "characters"


def test_tokens_of_a_model_or_of_a_tokenizer_alone(
    assay: Assay, models: Models, write_rows: WriteRows, tiny_tokenizer: Any, tmp_path: Path
) -> None:
    rows = write_rows([REPEATED])
    alone = tmp_path / "tokenizer"
    tiny_tokenizer.save_pretrained(alone)
    expected = len(tiny_tokenizer("Because.", add_special_tokens=False)["input_ids"])
    for model in (models.base, models.reward, models.adapter, alone):
        report = json.loads(assay("audit", rows, "--model", model, "--json").out)
        assert report["unit"] == "tokens"
        assert report["lengths"][0]["chosen_max"] == expected
        assert report["special_tokens"] == {"rows": 0, "tokens": {}, "places": []}


def test_output_is_a_page_and_the_json(assay: Assay, write_rows: WriteRows, tmp_path: Path) -> None:
    rows = write_rows([REPEATED, REPEATED])
    out = tmp_path / "report"
    ran = assay("audit", rows, "--output", out)
    assert ran.code == 0
    assert sorted(path.name for path in out.iterdir()) == ["report.html", "report.json"]
    page = (out / "report.html").read_text(encoding="utf-8")
    assert page.startswith("<!doctype html>")
    assert "safe to train: no" in page
    assert page.count("<svg") == page.count("</svg>") >= 6
    report = json.loads((out / "report.json").read_text(encoding="utf-8"))
    assert report == json.loads(assay("audit", rows, "--json").out)
    with nothing_left_behind(tmp_path):
        refused = assay("audit", rows, "--output", out)
    assert refused.code == 2
    assert "report.html: is there already" in refused.err
    assert assay("audit", rows, "--output", out, "--overwrite").code == 0


def test_fix_writes_beside_and_says_what_went(
    assay: Assay, write_rows: WriteRows, tmp_path: Path
) -> None:
    rows = write_rows([REPEATED, REPEATED, REPEATED | {"prompt": "other"}])
    test = write_rows([REPEATED | {"prompt": "OTHER"}], "test.jsonl")
    clean = tmp_path / "clean.jsonl"
    ran = assay("audit", rows, "--test", test, "--fix", clean)
    assert ran.code == 0
    assert f"cleaned: {clean}, 1 row\n" in ran.out
    assert "exact duplicates: 1" in ran.out
    assert "prompts in the test split: 1" in ran.out
    assert json.loads(clean.read_text(encoding="utf-8")) == REPEATED
    with nothing_left_behind(tmp_path):
        assert assay("audit", rows, "--fix", clean).code == 2
        assert assay("audit", rows, "--fix", rows, "--overwrite").code == 2
        for other in ("--test", "--against"):
            refused = assay("audit", rows, other, test, "--fix", test, "--overwrite")
            assert "is the input, which is never overwritten" in refused.err
    again = assay("audit", clean, "--test", test, "--json")
    counts = {f["name"]: f["count"] for f in json.loads(again.out)["findings"]}
    assert not any(counts.values())


def test_against_rows_and_lines(assay: Assay, write_rows: WriteRows, tmp_path: Path) -> None:
    lines = tmp_path / "lines.txt"
    lines.write_text("why?\n", encoding="utf-8")
    other = write_rows([REPEATED | {"prompt": "WHY?"}], "benchmark.jsonl")
    for against in (lines, other):
        report = json.loads(
            assay("audit", write_rows([REPEATED]), "--against", against, "--json").out
        )
        assert report["findings"][0]["name"] == "contaminated"
        assert report["findings"][0]["examples"][0]["places"][1] == f"{against}:1"
        assert [file["role"] for file in report["files"]] == ["train", "against"]


@pytest.mark.parametrize("extra", [(), ("--json",)])
def test_bad_rows_are_a_finding_and_no_error(
    assay: Assay, write_rows: WriteRows, extra: tuple[str, ...]
) -> None:
    rows = write_rows([REPEATED, {"prompt": "q", "chosen": "a"}])
    ran = assay("audit", rows, *extra)
    assert ran.code == 0
    assert "bad rows" in ran.out


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["missing.jsonl"], "no such file"),
        (["rows.jsonl", "--test", "missing.jsonl"], "no such file"),
        (["rows.jsonl", "--against", "missing.txt"], "no such file"),
        (["rows.jsonl", "rows.jsonl"], "given twice"),
        (["rows.jsonl", "--model", "no/such/model"], "no/such/model"),
        (["rows.jsonl", "--fix", "clean.csv"], "name it .jsonl"),
        (["rows.jsonl", "--output", "rows.jsonl"], "is not a directory"),
        (["answers.jsonl"], "without comparisons"),
        (["-", "--fix", "clean.jsonl"], "cannot be read twice"),
        ([], "Missing argument"),
    ],
)
def test_mistakes_are_one_line_and_leave_nothing(
    assay: Assay,
    write_rows: WriteRows,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    argv: list[str],
    message: str,
) -> None:
    write_rows([REPEATED])
    write_rows([{"prompt": "q", "responses": ["a", "b"]}], "answers.jsonl")
    monkeypatch.chdir(tmp_path)
    with nothing_left_behind(tmp_path):
        ran = assay("audit", *argv)
    assert ran.code == 2
    assert len(ran.errors) == 1
    assert message in ran.err


def test_stdin(assay: Assay) -> None:
    ran = assay("audit", "-", stdin=json.dumps(REPEATED).encode())
    assert ran.code == 0
    assert "stdin" in ran.out
