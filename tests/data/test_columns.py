"""Columns that the user maps to the fields of a format."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assay.data.columns import Columns, parse_columns
from assay.data.loading import load_groups
from assay.data.records import Group, Message, Source
from assay.data.rows import BadRow
from assay.data.scorable import SourceReader
from assay.data.sources import DataSource
from assay.errors import ConfigError, DataError

ROW: dict[str, object] = {
    "id": 7,
    "meta": {"question": "q", "a.b": 1},
    "answers": [{"text": "good"}, {"text": "bad"}],
    "x.y": "dotted",
    "nothing": None,
}


def test_paths_lead_to_values() -> None:
    columns = {"prompt": "meta.question", "chosen": "answers.0.text", "rejected": "answers.1.text"}
    assert Columns(columns).apply(ROW) == {
        "prompt": "q",
        "chosen": "good",
        "rejected": "bad",
        **ROW,
    }


def test_a_renamed_column_loses_its_old_name_and_others_stay() -> None:
    assert Columns({"prompt": "q"}).apply({"q": 1, "rest": 2}) == {"prompt": 1, "rest": 2}
    assert Columns({"prompt": "q"}).apply({"prompt": 0, "q": 1}) == {"prompt": 1}
    swapped = Columns({"a": "b", "b": "a"}).apply({"a": 1, "b": 2})
    assert swapped == {"a": 2, "b": 1}
    assert Columns({"prompt": "q", "text": "q"}).apply({"q": 1}) == {"prompt": 1, "text": 1}


def test_a_name_with_dots_goes_before_a_path() -> None:
    assert Columns({"prompt": "x.y"}).apply(ROW)["prompt"] == "dotted"


@pytest.mark.parametrize(
    ("path", "said"),
    [
        (
            "question",
            "no column 'question', only 'id', 'meta', 'answers', 'x.y', 'nothing'",
        ),
        ("meta.quest", "no 'quest' in 'meta', only 'question', 'a.b'; did you mean 'question'?"),
        ("answers.2.text", "no '2' in 'answers', a list of 2"),
        ("answers.-1", "no '-1' in 'answers', a list of 2"),
        ("answers.first", "no 'first' in 'answers', a list of 2"),
        ("id.x", "no 'x' in 'id', neither an object nor a list"),
        ("nothing.x", "no 'x' in 'nothing', null"),
    ],
)
def test_a_missing_column_says_what_is_there(path: str, said: str) -> None:
    columns = Columns({"prompt": path})
    columns.look_for(ROW, Source("rows.jsonl", 3))
    with pytest.raises(DataError, match=r"^rows\.jsonl:3: .*, and so in every row; ") as caught:
        columns.check_seen()
    assert said in str(caught.value).replace(", and so in every row", "")
    assert str(caught.value).endswith("correct columns")
    assert columns.apply(ROW) == ROW
    assert columns.apply(ROW, missing=True) == {"prompt": None} | ROW


@given(st.dictionaries(st.text(min_size=1), st.integers(), min_size=1))
def test_renaming_everything_keeps_every_value(row: dict[str, object]) -> None:
    columns = {f"new {index}": name for index, name in enumerate(row)}
    renamed = Columns(columns).apply(row)
    assert list(renamed.values()) == list(row.values())
    assert list(renamed) == list(columns)


def test_flags() -> None:
    assert parse_columns([]) == {}
    assert parse_columns(["prompt=question", " chosen = answers.0.text ", "text=a=b"]) == {
        "prompt": "question",
        "chosen": "answers.0.text",
        "text": "a=b",
    }
    assert parse_columns(["prompt=question,chosen=best, margin = a,b "]) == {
        "prompt": "question",
        "chosen": "best",
        "margin": "a,b",
    }
    for wrong in ("prompt", "=x", "prompt=", ""):
        with pytest.raises(ConfigError, match=r"--columns: '.*' is no mapping of columns; write F"):
            parse_columns([wrong])
    with pytest.raises(ConfigError, match="the field 'a' is given twice"):
        parse_columns(["a=b", "a=c"])


def test_a_source_is_mapped_before_its_format_is_detected(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    rows = [ROW, {"id": 8, "meta": {}}, ROW]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    columns = {"prompt": "meta.question", "chosen": "answers.0.text", "rejected": "answers.1.text"}
    reader = SourceReader(DataSource(str(path), columns=columns))
    first, bad, last = reader
    assert reader.format == "trl"
    assert isinstance(first, tuple)
    assert first[1] == ROW  # What is written beside a score is the row as it came.
    assert isinstance(first[2], Group)
    assert first[2].prompt == (Message("user", "q"),)
    assert isinstance(last, tuple)
    assert isinstance(bad, BadRow)
    assert bad.source.line == 2
    assert json.loads(bad.raw) == rows[1]
    with pytest.raises(DataError, match=r"rows\.jsonl:2: there is no column 'answers\.0\.text'"):
        load_groups([DataSource(str(path), columns=columns)])


def write(path: Path, *rows: object) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def test_columns_that_no_row_has(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text("question,good\nq,a\n")
    with pytest.raises(DataError, match=r"rows\.csv:2: there is no column 'quest'.*did you mean"):
        load_groups([DataSource(str(path), columns={"prompt": "quest"})])


PAIR = {"prompt": "q", "chosen": "a", "rejected": "b"}


def test_a_row_without_an_optional_column_is_read_without_it(tmp_path: Path) -> None:
    rows = [
        PAIR | {"margin": 9},
        PAIR | {"meta": {"margin": None}},
        PAIR | {"meta": {"margin": 2}},
        PAIR | {"meta": None},
    ]
    path = write(tmp_path / "rows.jsonl", *rows)
    columns = {"margin": "meta.margin", "system": "meta.system"}
    with pytest.raises(
        DataError, match=r"rows\.jsonl:1: there is no column 'meta\.system'.* every"
    ):
        load_groups([DataSource(path, columns=columns)])
    del columns["system"]
    groups = load_groups([DataSource(path, columns=columns)], group_by="row").groups
    assert [group.comparisons[0].margin for group in groups] == [None, None, 2, None]


def test_ratings_that_the_first_row_lacks_decide_the_format(tmp_path: Path) -> None:
    rated = PAIR | {"meta": [5, 2]}
    path = write(tmp_path / "rows.jsonl", PAIR, rated)
    columns = {"score_chosen": "meta.0", "score_rejected": "meta.1"}
    data = load_groups([DataSource(path, columns=columns)], group_by="row")
    assert data.formats == ["ultrafeedback_binarized"]
    assert [group.comparisons[0].margin for group in data.groups] == [None, 3]


def test_a_row_without_a_required_column_is_a_bad_row(tmp_path: Path) -> None:
    row = {"q": "q", "chosen": "a", "rejected": "b"}
    path = write(
        tmp_path / "rows.jsonl", row, {"chosen": "a", "rejected": "b"}, row | {"chosen": 1}
    )
    first, second, third = SourceReader(DataSource(path, columns={"prompt": "q"}))
    assert isinstance(first, tuple)
    assert isinstance(second, BadRow)
    assert second.what == "there is no column 'q', only 'chosen', 'rejected'"
    assert isinstance(third, BadRow)
    assert third.what == "'chosen' is a number, not text, a message or a list of messages"


def test_columns_of_one_file_need_not_be_in_another(tmp_path: Path) -> None:
    write(tmp_path / "a.jsonl", PAIR | {"m": 1})
    write(tmp_path / "b.jsonl", PAIR)
    groups = load_groups(
        [DataSource(str(tmp_path), columns={"margin": "m"})], group_by="row"
    ).groups
    assert [group.comparisons[0].margin for group in groups] == [1, None]


def test_a_source_with_columns_can_be_a_key() -> None:
    assert len({DataSource("a", columns={"x": "y"}), DataSource("a", columns={"x": "y"})}) == 1


def test_the_named_columns_decide_between_formats(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    answers = [{"answer": "first", "rank": 2}, {"answer": "second", "rank": 1}]
    path.write_text(json.dumps({"question": "q", "answers": answers}) + "\n")
    named = {"chosen": "answers.0.answer", "rejected": "answers.1.answer"}
    for columns, name, winner in (
        ({"prompt": "question"} | named, "trl", "first"),
        ({"prompt": "question"}, "nectar", "second"),
    ):
        data = load_groups([DataSource(str(path), columns=columns)])
        (group,) = data.groups
        better, _ = group.comparisons[0].winner_loser or (9, 9)
        assert data.formats == [name]
        assert group.responses[better].messages[0].content == winner


def test_named_columns_that_many_formats_read_leave_the_order(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    row = {"asked": "q", "good": "a", "bad": "b", "subset": "s", "system": "x"}
    path.write_text(json.dumps(row) + "\n")
    columns = {"prompt": "asked", "chosen": "good", "rejected": "bad"}
    assert load_groups([DataSource(str(path), columns=columns)]).formats == ["rewardbench"]
    turn = {"conversations": [{"from": "human", "value": "q"}], "good": "a", "bad": "b"}
    path.write_text(json.dumps(turn) + "\n")
    del columns["prompt"]
    data = load_groups([DataSource(str(path), columns=columns)])
    assert data.formats == ["llamafactory_sharegpt"]


def test_a_missing_column_is_told_once_and_is_no_other_format(tmp_path: Path) -> None:
    turns = {"chosen": "\n\nHuman: q\n\nAssistant: a", "rejected": "\n\nHuman: q\n\nAssistant: b"}
    path = write(tmp_path / "rows.jsonl", turns, turns, turns)
    source = DataSource(path, columns={"prompt": "foo"})
    with pytest.raises(DataError) as refused:  # The last row, at which it would be found, is cut.
        load_groups([source], limit=2)
    assert str(refused.value) == (
        f"2 bad rows: {path}:1, {path}:2: there is no column 'foo', only 'chosen', 'rejected'; "
        "correct columns, or the row; mend them, or set data.on_bad_row to skip"
    )
