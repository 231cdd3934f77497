"""Rows of CSV files: cells that stand for numbers, truth values, lists and messages."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from assay.data.cells import Cell, literal, nested
from assay.data.loading import load_groups
from assay.data.records import Group, Message
from assay.data.rows import BadRow
from assay.data.scorable import SourceReader
from assay.data.sources import DataSource
from assay.errors import DataError

QUESTION = [{"role": "user", "content": "q"}]
TOOL = {"type": "function", "function": {"name": "f"}}


def says(text: str) -> list[dict[str, str]]:
    return [{"role": "assistant", "content": text}]


def groups(folder: Path, *rows: dict[str, object]) -> list[Group]:
    """The groups of a CSV file whose cells are texts, and JSON of everything else."""
    path = folder / "rows.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(rows[0])
        writer.writerows(
            [v if isinstance(v, str) else json.dumps(v) for v in row.values()] for row in rows
        )
    found = [row[2] for row in SourceReader(DataSource(str(path))) if isinstance(row, tuple)]
    assert len(found) == len(rows)
    return [group for group in found if isinstance(group, Group)]


def contents(group: Group) -> list[str]:
    return [response.messages[-1].content for response in group.responses]


def test_messages_as_json_are_messages(tmp_path: Path) -> None:
    whole = {name: QUESTION + says(text) for name, text in (("chosen", "a"), ("rejected", "b"))}
    rejected = {"messages": whole["chosen"], "rejected_response": says("b")}
    for row in (
        {"prompt": QUESTION, "chosen": says("a"), "rejected": says("b")},
        {"prompt": "q", "chosen": says("a")[0], "rejected": "b"},
        whole,
        whole | {"subset": "s"},
        rejected,
        {
            "conversations": [{"from": "human", "value": "q"}],
            "chosen": {"from": "gpt", "value": "a"},
            "rejected": [{"from": "gpt", "value": "b"}],
        },
    ):
        (group,) = groups(tmp_path, row)
        assert group.prompt == (Message("user", "q"),)
        assert contents(group) == ["a", "b"]


@pytest.mark.parametrize("told", ["a", "it's {'a'} {'b'}, {'c'} \"q\"\n[1] é 你好 \\d"])
@pytest.mark.parametrize("space", ["", " " * 80])
def test_messages_as_python_prints_them_are_messages(told: str, space: str, tmp_path: Path) -> None:
    """So pandas writes lists into CSV, and numpy's arrays, which it makes of Parquet's lists."""
    chosen = [*QUESTION, {"content": told + space, "role": "assistant", "name": None}]
    rejected = QUESTION + says("b" + space)
    for printed in (str, lambda messages: str(np.array(messages, dtype=object))):
        if printed is not str and not space and "{" in told:
            continue  # Without a comma and without a line break it is in doubt.
        row = {"chosen": printed(chosen), "rejected": printed(rejected)}
        (group,) = groups(tmp_path, row)
        assert contents(group) == [told + space, "b" + space]
    (group,) = groups(tmp_path, {"prompt": "q", "chosen": str(says(told)[0]), "rejected": "b"})
    assert contents(group) == [told, "b"]
    (group,) = groups(
        tmp_path, {"prompt": "q", "chosen": "a", "rejected": "b", "tools": str([TOOL])}
    )
    assert group.tools == (TOOL,)


@pytest.mark.parametrize(
    "cell",
    [
        "[{'role': 'user', 'content': 'a' 'b'}]",  # A list without commas, or one text in two?
        "[{'role': 'user', 'content': 'a} {b'} {'role': 'user', 'content': 'c'}]",
        "[{'role': 'user', 'content': array([{'type': 'text'}], dtype=object)}]",
        "[{'role': 'user', 'content': nan}]",
        "[{'role': 'user', 'role': 'assistant'}]",
        "[{'role': 'user', 'content': ('a',)}]",
    ],
)
def test_what_python_prints_in_doubt_is_refused(cell: str, tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([["prompt", "chosen", "rejected"], ["q", cell, "b"]])
    with pytest.raises(DataError, match=r"rows\.csv:2: '.*was printed by Python.*json\.dumps"):
        load_groups([DataSource(str(path))])


def test_other_python_in_an_answer_is_its_text(tmp_path: Path) -> None:
    for text in ("['a' 'b']", "{'a': 1}", "{'role': 'x'} is a dict", "[1 2]", "{'role'}"):
        (group,) = groups(tmp_path, {"prompt": "q", "chosen": text, "rejected": "b"})
        assert contents(group) == [text, "b"]
    assert nested("[{'role': 1}]", "role") == "[{'role': 1}]"  # Of JSON lines: text is text.


@given(
    st.lists(
        st.dictionaries(
            st.sampled_from(["role", "content", "x"]),
            st.text(st.sampled_from("{}, '\"\\\n[]:a")) | st.none() | st.booleans(),
            min_size=1,
        ),
        min_size=1,
        max_size=4,
    )
)
def test_what_is_printed_is_read_as_it_was_or_not_at_all(rows: list[dict[str, object]]) -> None:
    assert literal(Cell(str(rows))) == rows
    printed = Cell(np.array(rows, dtype=object))
    assert literal(printed) in (rows, printed)


def test_other_json_in_an_answer_is_its_text(tmp_path: Path) -> None:
    texts = ["[1, 2]", '{"a": 1}', "[]", '[{"role": "x"}, 1]', "{role}", '[{"role": "user"']
    for text in texts:
        (group,) = groups(tmp_path, {"prompt": "q", "chosen": text, "rejected": "b"})
        assert contents(group) == [text, "b"]
    assert nested('[{"role": 1}]', "role") == '[{"role": 1}]'  # Of JSON lines: text is text.
    assert nested(Cell('[{"role": 1}]'), "role") == [{"role": 1}]


def test_the_question_of_webgpt_as_json(tmp_path: Path) -> None:
    row = {"answer_0": "a", "answer_1": "b", "score_0": "0.5", "score_1": "-0.5"}
    question = {"dataset": "eli5", "id": 3, "full_text": "q"}
    for asked, extra in ((question, {"question": {"id": 3}}), ("q", {})):
        (group,) = groups(tmp_path, {"question": asked} | row)
        assert group.prompt == (Message("user", "q"),)
        assert group.extra == extra


def test_truth_values_and_labels(tmp_path: Path) -> None:
    (group,) = groups(
        tmp_path,
        {
            "prompt": "q",
            "response_0": "a",
            "response_1": "b",
            "is_response_0_safe": "True",
            "is_response_1_safe": "",
            "response_0_harm_category": {"Insult": True, "Fraud": False},
            "better_response_id": "1.0",
        },
    )
    assert group.comparisons[0].winner_loser == (1, 0)
    assert [response.tags for response in group.responses] == [
        {"is_safe": "true", "harm_category": "Insult"},
        {},
    ]
    labels = ("True", "0", "", "1.0")
    rated = groups(tmp_path, *({"prompt": "q", "completion": "a", "label": x} for x in labels))
    assert [group.responses[0].ratings for group in rated] == [
        {"label": 1.0},
        {"label": 0.0},
        {},
        {"label": 1.0},
    ]


def test_whole_numbers_of_float_columns_are_labels(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    row = {"prompt": "q", "response_0": "a", "response_1": "b", "better_response_id": 1.0}
    path.write_text(json.dumps(row) + "\n")
    (group,) = load_groups([DataSource(str(path))]).groups
    assert group.comparisons[0].winner_loser == (1, 0)
    path.write_text(json.dumps(row | {"better_response_id": 0.5}) + "\n")
    with pytest.raises(DataError, match="'better_response_id' is a number other than 0 or 1"):
        load_groups([DataSource(str(path))])


def test_empty_cells_are_nothing_where_text_is_not_wanted(tmp_path: Path) -> None:
    empty = {"tools": "", "chat_template_kwargs": "", "images": "[]", "margin": "", "system": ""}
    for row in (
        {"prompt": "q", "chosen": "a", "rejected": "b"},
        {"instruction": "q", "input": "", "chosen": "a", "rejected": "b", "history": ""},
    ):
        (group,) = groups(tmp_path, row | empty)
        assert (group.prompt, group.tools) == ((Message("user", "q"),), None)
        assert contents(group) == ["a", "b"]
    (group,) = groups(
        tmp_path,
        {"prompt": "q", "chosen": "a", "rejected": "b"}
        | {"tools": [TOOL], "chat_template_kwargs": {"x": False}},
    )
    assert (group.tools, group.template_kwargs) == ((TOOL,), {"x": False})
    (group,) = groups(
        tmp_path,
        {"instruction": "q2", "chosen": "a", "rejected": "b", "history": [["q1", "a1"]]},
    )
    assert [message.content for message in group.prompt] == ["q1", "a1", "q2"]
    (group,) = groups(
        tmp_path,
        {"instruction": "q", "response1": "a", "response2": "b"}
        | {"annotator1": "2", "annotator2": "", "annotator3": "2"},
    )
    assert group.comparisons[0].winner_loser == (1, 0)


@pytest.mark.parametrize(
    ("field", "cell", "what"),
    [
        ("margin", "big", "'margin' is text, not a number"),
        ("chat_template_kwargs", "x", "'chat_template_kwargs' is text, not an object"),
        ("tools", "{", "'tools' is text that is not JSON"),
        ("images", "a.png", "'images' is not empty"),
    ],
)
def test_a_cell_is_called_text(tmp_path: Path, field: str, cell: str, what: str) -> None:
    path = tmp_path / "rows.csv"
    path.write_text(f"prompt,chosen,rejected,{field}\nq,a,b,{cell}\n")
    with pytest.raises(DataError, match=rf"rows\.csv:2: {what}"):
        load_groups([DataSource(str(path))])


@pytest.mark.parametrize("listed", ["['a', 'b']", "['a' 'b']", '["a", "b"]', "[ 'a\n' ]"])
def test_answers_that_are_lists_of_texts_are_refused(tmp_path: Path, listed: str) -> None:
    path = tmp_path / "rows.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("prompt", "chosen", "rejected"), ("q", listed, listed)])
    with pytest.raises(DataError, match=r"'chosen' and 'rejected' look like lists of texts"):
        load_groups([DataSource(str(path))])


def test_a_list_against_a_text_is_an_answer(tmp_path: Path) -> None:
    row = {"prompt": "Letters?", "chosen": "['a', 'b']", "rejected": "a and b"}
    (group,) = groups(tmp_path, row)
    assert contents(group) == ["['a', 'b']", "a and b"]


def test_one_response_of_a_cell_is_text_or_messages(tmp_path: Path) -> None:
    answers: list[object] = ["42", "true", "", "[1] see", [{"role": "assistant", "content": "b"}]]
    found = groups(tmp_path, *({"prompt": "q", "response": given} for given in answers))
    assert [contents(group) for group in found] == [["42"], ["true"], [""], ["[1] see"], ["b"]]
    path = tmp_path / "lists.csv"
    path.write_text("prompt,response\nq,['a']\n")
    (bad,) = SourceReader(DataSource(str(path)))
    assert isinstance(bad, BadRow)
    assert bad.what == "'response[0]' is text, not a message {'role': ..., 'content': ...}"


def test_responses_of_a_cell(tmp_path: Path) -> None:
    found = groups(
        tmp_path,
        {"prompt": "q", "responses": ["a", "it's"]},
        {"prompt": "q", "responses": str(["b", "c"])},
    )
    assert [contents(group) for group in found] == [["a", "it's"], ["b", "c"]]
    path = tmp_path / "numpy.csv"
    printed = str(np.array(["a", "b"]))
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("prompt", "responses"), ("q", printed)])
    (bad,) = SourceReader(DataSource(str(path)))
    assert isinstance(bad, BadRow)
    assert bad.what.startswith("'responses' is a list that cannot be read back")
    assert "json.dumps" in bad.mend
