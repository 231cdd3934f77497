"""Rows that no format knows: the error names the mend, not the registry."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from assay.data.columns import parse_columns
from assay.data.formats import unknown_row
from assay.data.loading import load_groups
from assay.data.sources import DataSource
from assay.data.strict_json import JsonObject
from assay.errors import DataError


@pytest.mark.parametrize(
    ("row", "flags"),
    [
        (
            {"question": "q", "best": "a", "worst": "b"},
            "prompt=question,chosen=best,rejected=worst",
        ),
        ({"prompt": "q", "good_one": "a", "Bad": "b"}, "chosen=good_one,rejected=Bad"),
        ({"x": 1}, "prompt=FIELD,chosen=FIELD,rejected=FIELD"),
        ({"query": "q", "win": "a", "other": 1}, "prompt=query,chosen=win,rejected=FIELD"),
        ({"user question": "q", "best": "a", "worst": "b"}, "prompt=user question,"),
        ({"instruction": "q", "output": "a", "id": 1}, "prompt=instruction,response=output"),
        ({"about": "q", "response": "a"}, "prompt=FIELD"),
        ({"question": "q", "answer_a": "a", "answer_b": "b"}, "prompt=question,chosen=FIELD,"),
    ],
)
def test_the_fields_are_mapped_by_their_names(row: JsonObject, flags: str) -> None:
    mend = str(unknown_row(row).mend)
    quote = "'" if " " in flags else ""
    end = "" if flags.endswith(",") else f"{quote} (in a recipe"
    assert mend.startswith(f"say which is which: --columns {quote}{flags}{end}")
    assert "(in a recipe, columns: {" in mend
    assert ("where FIELD is one of these" in mend) == ("FIELD" in flags)
    assert len(mend) < 300


def test_the_mend_mends(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    row: JsonObject = {"question": "q", "best": "a", "worst": "b"}
    path.write_text(json.dumps(row) + "\n")
    with pytest.raises(DataError, match=r"rows\.jsonl:1: no known format") as caught:
        load_groups([DataSource(str(path))])
    flag = str(caught.value.mend).split("--columns ")[1].split()[0]
    (group,) = load_groups([DataSource(str(path), columns=parse_columns([flag]))]).groups
    assert group.prompt[0].content == "q"
    assert [response.messages[0].content for response in group.responses] == ["a", "b"]


def test_a_format_is_named_where_one_is_near() -> None:
    mend = str(unknown_row({"question": "q", "answer_0": "a", "good": 1}).mend)
    assert "; or rename them as in webgpt (question (with full_text), answer_0" in mend
    assert "rename" not in str(unknown_row({"question": "q", "good": 1}).mend)


@pytest.mark.parametrize(
    ("row", "names"),
    [
        ({"data": [{"x": 1}]}, "'data'"),
        ({"version": 1, "pairs": [{"prompt": "q", "chosen": "a", "rejected": "b"}]}, "'pairs'"),
        ({"train": [{"x": 1}], "test": [{"x": 2}]}, "'train' and 'test'"),
    ],
)
def test_rows_that_stand_under_a_key(row: JsonObject, names: str, tmp_path: Path) -> None:
    path = tmp_path / "rows.json"
    path.write_text(json.dumps(row, indent=1))
    with pytest.raises(DataError, match=rf"the rows stand under {names}; write that list alone"):
        load_groups([DataSource(str(path))])
    for no_rows in ({"data": "x"}, {"data": []}, {"dialog": [{"role": "user", "content": "q"}]}):
        assert "stand under" not in unknown_row(no_rows).what


def test_a_table_without_a_header(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text("what is it?,this,that\nand now?,that,this\n")
    with pytest.raises(DataError, match=r"rows\.csv:2: .*'what is it\?', 'this', 'that'") as caught:
        load_groups([DataSource(str(path))])
    assert "(the first line was taken as the header)" in caught.value.what
    mend = "if there is no header, write prompt,chosen,rejected above the rows; else say which"
    assert str(caught.value.mend).startswith(mend)
    for header, what in (("q,a,a", "'a' twice"), ("q,a,", "without a name")):
        path.write_text(f"{header}\nq,b,c\n")
        with pytest.raises(DataError, match=what) as caught:
            load_groups([DataSource(str(path))])
        assert "if the first line is a row, write a header above it" in str(caught.value.mend)
    path.write_text(f"prompt,chosen,rejected\n{path.read_text()}")
    assert load_groups([DataSource(str(path))]).num_rows == 2
