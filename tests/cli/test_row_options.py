"""Columns, plug-ins and revisions, the same in every command that reads rows."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from running import Assay, Models

WriteRows = Callable[..., Path]

ROWS = [{"ask": f"Why {n}?", "answers": {"good": "Because.", "bad": "No idea."}} for n in range(3)]
COLUMNS = [
    *("--columns", "prompt=ask"),
    *("--columns", "chosen=answers.good"),
    *("--columns", "rejected=answers.bad"),
]
PLUGIN = """
import assay


@assay.register_format("{name}", detects=lambda row: "ask" in row and "answers" in row)
def read(row):
    return {{
        "prompt": row["ask"],
        "chosen": row["answers"]["good"],
        "rejected": row["answers"]["bad"],
    }}
"""


@pytest.fixture
def plugin(tmp_path: Path, fresh_registries: None) -> Path:
    path = tmp_path / "mine.py"
    path.write_text(PLUGIN.format(name=tmp_path.name))
    return path


def test_columns_and_plugins_read_the_same_rows_everywhere(
    assay: Assay, models: Models, write_rows: WriteRows, tmp_path: Path, plugin: Path
) -> None:
    rows = write_rows(ROWS)
    shown = [
        assay("render", "--model", models.reward, "--input", rows, *options)
        for options in (COLUMNS, ["--plugin", plugin])
    ]
    assert [ran.code for ran in shown] == [0, 0]
    assert shown[0].out == shown[1].out
    for name, options in (("columns", COLUMNS), ("plugin", ["--plugin", plugin])):
        out = tmp_path / name
        ran = assay("eval", "--model", models.reward, "--input", rows, "--output", out, *options)
        assert ran.code == 0, ran.err
        scored = tmp_path / f"{name}.jsonl"
        ran = assay(
            "score", "--model", models.reward, "--input", rows, "--output", scored, *options
        )
        assert ran.code == 0, ran.err
    results = [
        json.loads((tmp_path / name / "results.json").read_text()) for name in ("columns", "plugin")
    ]
    assert results[0]["num_comparisons"] == results[1]["num_comparisons"] == 3
    assert results[0]["mean_margin"] == results[1]["mean_margin"]
    lines = [
        (tmp_path / f"{name}.jsonl").read_text().splitlines() for name in ("columns", "plugin")
    ]
    scores = [[json.loads(line)["assay"] for line in part] for part in lines]
    assert scores[0] == scores[1]
    # The row that comes out is the row that went in.
    assert all(json.loads(line)["ask"] for line in lines[0])


def test_the_audit_reads_the_test_split_in_the_named_format_too(
    assay: Assay, write_rows: WriteRows, tmp_path: Path, plugin: Path
) -> None:
    plugin.write_text(PLUGIN.replace(", detects", ") #").format(name="named"))
    train, test = write_rows(ROWS, "train.jsonl"), write_rows(ROWS[:1], "test.jsonl")
    ran = assay("audit", train, "--test", test, "--plugin", plugin, "--format", "named", "--json")
    assert (ran.code, ran.err) == (0, "")
    report = json.loads(ran.out)
    assert [file["format"] for file in report["files"]] == ["named", "named"]
    assert {f["name"]: f["count"] for f in report["findings"]}["prompts in the test split"] == 1


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--columns", "prompt"], "prompt"),
        (["--columns", "prompt=nothing.there"], "nothing"),
        (["--plugin", "absent.py"], "no such plug-in file"),
        (["--revision", "main"], "revision"),
    ],
)
def test_wrong_options_are_one_clear_error(
    assay: Assay, models: Models, write_rows: WriteRows, options: list[str], said: str
) -> None:
    ran = assay("render", "--model", models.reward, "--input", write_rows(ROWS), *options)
    assert ran.code == 2
    assert len(ran.errors) == 1
    assert said in ran.errors[0]


def test_by_hand_takes_no_columns(assay: Assay, models: Models) -> None:
    ran = assay(
        "score", "--model", models.reward, "--prompt", "q", "--response", "a", "--columns", "a=b"
    )
    assert ran.code == 2
    assert "--columns is for the rows of a file" in ran.errors[0]
