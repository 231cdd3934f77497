"""Loading: every row is a group, a skipped row or a bad row, and each error has place and mend."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Literal

import pytest
from published_cases import HELPSTEER3, RATED_PAIR, ULTRAFEEDBACK

from assay.data import loading
from assay.data.formats import VerbatimText
from assay.data.loading import LoadedData, SortedSource, load_groups, write_bad_rows
from assay.data.records import Group
from assay.data.rows import BadRow
from assay.data.scorable import SourceReader
from assay.data.sources import DataSource
from assay.data.strict_json import JsonObject
from assay.errors import DataError, OutputError


def pair(
    prompt: str = "q", chosen: object = "a", rejected: object = "b", **more: object
) -> JsonObject:
    return {"prompt": prompt, "chosen": chosen, "rejected": rejected, **more}


def write(folder: Path, *rows: object, name: str = "f.jsonl") -> str:
    """A file of rows; a text stands as it is."""
    lines = [row if isinstance(row, str) else json.dumps(row) for row in rows]
    (folder / name).write_text("\n".join(lines) + "\n", encoding="utf-8")
    return str(folder / name)


def message(role: object = "assistant", content: object = "a", **more: object) -> JsonObject:
    return {"role": role, "content": content, **more}


HH = "\n\nHuman: q\n\nAssistant: a"
PKU = {"prompt": "q", "response_0": "a", "response_1": "b", "better_response_id": 0}
VALUED = {"role": "assistant", "chosen_value": "a", "rejected_value": "b"}

# First row, second row with the fault, what is said of it, the mend.
MALFORMED: list[tuple[JsonObject, object, str, str]] = [
    (pair(), '{"prompt": "q", ', "is not valid JSON", "one JSON object per line"),
    (pair(), {"prompt": "q", "chosen": "a"}, "no field 'rejected', only 'prompt', 'chosen'", "add"),
    (pair(), pair(chosen=5), "'chosen' is a number, not text, a message or a list", "write text"),
    (pair(), pair(rejected=None), "'rejected' is null, not text", "write text"),
    (pair(), pair(prompt=" "), "the prompt is empty", "write the question"),
    (pair(), {**pair(), "prompt": []}, "the prompt is empty", "write the question"),
    (pair(), {**pair(), "prompt": True}, "'prompt' is true, not text", "write text"),
    (pair(), {"chosen": "a", "rejected": "b"}, "the prompt cannot be found", "add a 'prompt'"),
    (pair(), pair(margin="1"), "'margin' is text, not a number", "write a number"),
    (pair(), pair(margin=True), "'margin' is true, not a number", "write a number"),
    (pair(), pair(margin=10**400), "'margin' is not a finite number", "finite number or null"),
    (pair(), pair(tools={}), "'tools' is an object, not a list of objects", "write a list"),
    (pair(), pair(tools=["f"]), "'tools[0]' is text, not an object", "write an object"),
    (pair(), pair(chat_template_kwargs=[]), "'chat_template_kwargs' is a list", "an object"),
    (pair(), pair(chosen=[]), "'chosen' holds no answer", "add an assistant turn"),
    (pair(), pair(chosen=["a"]), "'chosen[0]' is text, not a message", "write a message"),
    (pair(), pair(chosen=[{"content": "a"}]), "no field 'role' in 'chosen[0]', only", "add"),
    (pair(), pair(chosen=[message("gpt")]), "'chosen[0].role' is 'gpt'", "write 'assistant'"),
    (pair(), pair(chosen=[message("x")]), "role' is 'x'", "one of system, developer, user"),
    (pair(), pair(chosen=[message(1)]), "'chosen[0].role' is a number, not text", "write text"),
    (pair(), pair(chosen=[message(content=None)]), "'chosen[0].content' is null", "write text"),
    (pair(), pair(chosen=[{"role": "assistant"}]), "no field 'content' in 'chosen[0]'", "add"),
    (
        pair(),
        pair(chosen=[message(content=[{"type": "image_url", "image_url": {}}])]),
        "'chosen[0].content[0]' is a part of type 'image_url'",
        "leave out rows with such parts",
    ),
    (
        pair(),
        pair(chosen=[message(content=[{"type": "text"}])]),
        "no field 'text' in 'chosen[0].content[0]', only 'type'",
        "add",
    ),
    (pair(), pair(chosen=[message(content=["a"])]), "'chosen[0].content[0]' is text", "a part"),
    (pair(), pair(chosen=[message(tool_calls=[1])]), "tool_calls[0]' is a number", "an object"),
    (pair(), pair(chosen=[message(reasoning_content=1)]), "reasoning_content' is a n", "text"),
    (
        pair(),
        pair(chosen=[message("tool")]),
        "'chosen' ends with the role 'tool'",
        "assistant turn",
    ),
    (
        pair(),
        pair(chosen=[message("user", "other"), message()]),
        "'chosen' begins with the role 'user' and does not repeat the prompt",
        "exactly the prompt",
    ),
    (
        pair(),
        pair(chosen=[message("user", "q"), message()]),
        "one of 'chosen' and 'rejected' repeats the prompt",
        "write the answers alone",
    ),
    (
        pair(),
        {
            "chosen": [message("user", "q"), message()],
            "rejected": [message("user", "r"), message()],
        },
        "do not begin with the same message",
        "begin both with the prompt",
    ),
    (
        {"chosen": HH, "rejected": HH + "b"},
        pair(),
        "'chosen' does not begin with a human",
        "looks like trl: put such rows into a file of their own",
    ),
    (
        {"chosen": HH, "rejected": HH + "b"},
        {"chosen": HH + "\n\nHuman: x", "rejected": HH},
        "'chosen' ends with the role 'user'",
        "end it with an assistant turn",
    ),
    ({"chosen": HH, "rejected": HH + "b"}, {"chosen": HH}, "no field 'rejected'", "add"),
    (PKU, {**PKU, "better_response_id": 2}, "'better_response_id' is a number other", "write 0 or"),
    (PKU, {**PKU, "better_response_id": "0"}, "'better_response_id' is text, not 0", "write 0 or"),
    (PKU, {**PKU, "is_response_1_safe": 1}, "'is_response_1_safe' is a number", "true or false"),
    (
        {"prompt": "q", "pos_resp": "a", "neg_resp": "b"},
        {"prompt": "q", "pos_resp": "a", "neg_rsp": "b"},
        "no field 'neg_resp', only 'prompt', 'pos_resp', 'neg_rsp'",
        "add or rename it",
    ),
    (
        {"prompt": "q", "pos_resp": "a", "neg_resp": "b"},
        {"prompt": "q", "pos_resp": "a", "neg_resp": "b", "pos_type": 1},
        "'pos_type' is a number, not text",
        "write text",
    ),
    (
        {"messages": [{"role": "user", "value": "q"}, VALUED]},
        {"messages": [{"role": "user", "content": "q"}, VALUED]},
        "no field 'value' in 'messages[0]'",
        "add or rename",
    ),
    (
        {"messages": [{"role": "user", "value": "q"}, VALUED]},
        {"messages": [{"role": "user", "value": "q"}, VALUED | {"role": "user"}]},
        "'messages[1]' holds the answers and is not the assistant's",
        "set 'messages[1].role'",
    ),
    (
        {"messages": [{"role": "user", "value": "q"}, VALUED]},
        {"messages": []},
        "'messages' is empty",
        "write the question and its two answers",
    ),
]

MALFORMED_FOR_SCORING: list[tuple[JsonObject, object, str, str]] = [
    ({"prompt": "q", "responses": ["a"]}, {"responses": ["a"]}, "no field 'prompt'", "add"),
    ({"prompt": "q", "responses": ["a"]}, {"prompt": "q", "responses": []}, "is empty", "at least"),
    (
        {"prompt": "q", "responses": ["a"]},
        {"prompt": "q", "responses": "a"},
        "not a list",
        "a list",
    ),
    (
        {"prompt": "q", "responses": ["a"]},
        {"prompt": "q", "responses": [1]},
        "responses[0]",
        "text",
    ),
    (
        {"messages": [message("user"), message()]},
        {"messages": [message()]},
        "'messages' holds no user turn",
        "begin with",
    ),
    (
        {"messages": [message("user"), message()]},
        {"messages": [message("user")]},
        "'messages' holds no answer",
        "add an assistant turn",
    ),
    (
        {"messages": [message("user"), message()]},
        {"messages": "q"},
        "'messages' is text, not a list of messages",
        "write a list",
    ),
    ({"text": "a"}, {"text": ""}, "'text' is empty", "write the text"),
    ({"text": "a"}, {"text": 1}, "'text' is a number, not text", "write text"),
]


@pytest.mark.parametrize(
    ("good", "bad", "what", "mend"), MALFORMED, ids=[what for _, _, what, _ in MALFORMED]
)
def test_a_malformed_row_gives_one_line_with_place_and_mend(
    tmp_path: Path, good: JsonObject, bad: object, what: str, mend: str
) -> None:
    path = write(tmp_path, good, bad)
    with pytest.raises(DataError) as caught:
        load_groups([DataSource(path)])
    line = str(caught.value)
    assert "\n" not in line
    assert line.startswith(f"1 bad row: {path}:2: ")
    said, _, mends = line.partition("; ")
    assert what in said
    assert mend in mends
    assert mends.endswith("mend them, or set data.on_bad_row to skip")


@pytest.mark.parametrize(
    ("good", "bad", "what", "mend"),
    MALFORMED + MALFORMED_FOR_SCORING,
    ids=[what for _, _, what, _ in MALFORMED + MALFORMED_FOR_SCORING],
)
def test_scoring_goes_on_behind_a_malformed_row(
    tmp_path: Path, good: JsonObject, bad: object, what: str, mend: str
) -> None:
    path = write(tmp_path, good, bad, good)
    first, middle, last = SourceReader(DataSource(path))
    assert isinstance(first, tuple)
    assert isinstance(last, tuple)
    assert isinstance(middle, BadRow)
    assert what in middle.what
    assert mend in middle.mend
    assert str(middle.source) == f"{path}:2"
    assert middle.raw == (bad if isinstance(bad, str) else json.dumps(bad)).strip()


def test_all_bad_rows_of_all_files_are_listed_at_once(tmp_path: Path) -> None:
    first = write(tmp_path, pair(), "{", pair(), pair(margin="x"), name="one.jsonl")
    second = write(tmp_path, *["[]"] * 30, pair(), name="two.jsonl")
    with pytest.raises(DataError) as caught:
        load_groups([DataSource(first), DataSource(second)])
    line = str(caught.value)
    assert "\n" not in line
    assert line.startswith(f"32 bad rows: {first}:2: is not valid JSON")
    assert f" | {first}:4: 'margin' is text, not a number; write a number | {second}:1, " in line
    assert f"{second}:18: is not a JSON object; write each row as {{...}} | and 12 more; " in line
    assert f"{second}:19" not in line


def test_bad_rows_can_be_skipped_and_everything_has_a_number(tmp_path: Path) -> None:
    path = write(tmp_path, "{", {"odd": 1}, pair(), pair("q2", "a", "a"), pair("q", "b", "c"), "[]")
    data = load_groups([DataSource(path)], on_bad_row="skip")
    assert [row.source.line for row in data.bad_rows] == [1, 2, 6]
    assert [(str(row.source), row.reason) for row in data.skipped] == [
        (f"{path}:4", "identical answers")
    ]
    assert data.counts() == {"identical answers": 1, "bad row": 3}
    assert data.num_rows == 6 == sum(data.counts().values()) + 2
    (group,) = data.groups
    assert len(group.responses) == 3
    assert [c.row.line for c in group.comparisons if c.row] == [3, 5]
    assert data.formats == ["trl"]
    assert data.fingerprints == [hashlib.sha256(Path(path).read_bytes()).hexdigest()]


def test_grouping_by_row_keeps_ids_apart(tmp_path: Path) -> None:
    one, two = (write(tmp_path, pair(), pair(), name=name) for name in ("1.jsonl", "2.jsonl"))
    sources = [DataSource(one), DataSource(two)]
    rows = load_groups(sources, group_by="row")
    key = rows.groups[0].id.split("#")[0]
    placed = [f"{key}#1@{two}:1", f"{key}#2@{two}:2"]
    assert [g.id for g in rows.groups] == [f"{key}#1", f"{key}#2", *placed]
    (group,) = load_groups(sources).groups
    assert group.id == key
    assert [str(c.row) for c in group.comparisons] == [
        f"{one}:1",
        f"{one}:2",
        f"{two}:1",
        f"{two}:2",
    ]


def test_identical_answers_are_found_after_the_reading_of_the_format(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        {"prompt": "q", "pos_resp": "a ", "neg_resp": "\na"},
        {"prompt": "q", "pos_resp": "", "neg_resp": "a"},
    )
    data = load_groups([DataSource(path)])
    assert (len(data.groups), data.counts()) == (1, {"identical answers": 1})
    assert all(isinstance(row, Group) for row in SortedSource(DataSource(path), usable_only=False))


def test_the_label_of_a_source_is_read(tmp_path: Path) -> None:
    path = write(tmp_path, PKU | {"safer_response_id": 1})
    for label, outcome in ((None, "a"), ("better", "a"), ("safer", "b")):
        (group,) = load_groups([DataSource(path, label=label)]).groups
        assert group.comparisons[0].outcome == outcome


def of_comparisons(group: Group) -> list[tuple[int, int, str, float | None]]:
    return [(c.a, c.b, c.outcome, c.margin) for c in group.comparisons]


@pytest.mark.parametrize("group_by", ["prompt", "row"])
def test_rated_rows_are_compared_whatever_groups_them(
    tmp_path: Path, group_by: Literal["prompt", "row"]
) -> None:
    other = RATED_PAIR[0] | {"prompt": "alone"}
    path = write(tmp_path, RATED_PAIR[0], other, RATED_PAIR[1], RATED_PAIR[1])
    for label, compared in ((None, (0, 1, "a", 3.0)), ("correctness", (0, 1, "tie", 0.0))):
        data = load_groups([DataSource(path, label=label)], group_by=group_by)
        (group,) = data.groups
        assert of_comparisons(group) == [compared]
        assert data.formats == ["helpsteer2"]
        assert data.counts() == {"no other response to its prompt": 1, "repeated response": 1}
        assert data.num_rows == 4 == len(group.responses) + sum(data.counts().values())
    assert f"{path}: no usable row is left of 4 (no rating: 2, " in error_of(
        DataSource(path, label="verbosity")
    )
    scored = [row for row in SourceReader(DataSource(path)) if isinstance(row, tuple)]
    assert [len(row[2].responses) for row in scored if isinstance(row[2], Group)] == [1] * 4


def test_ratings_of_two_files_are_not_compared(tmp_path: Path) -> None:
    one = write(tmp_path, *RATED_PAIR, name="1.jsonl")
    two = write(tmp_path, *(RATED_PAIR[i] | {"response": "cd"[i]} for i in (0, 1)), name="2.jsonl")
    (group,) = load_groups([DataSource(one), DataSource(two)]).groups
    assert [r.messages[0].content for r in group.responses] == ["a", "b", "c", "d"]
    assert of_comparisons(group) == [(0, 1, "a", 3.0), (2, 3, "a", 3.0)]
    assert [c.row.file for c in group.comparisons if c.row] == [one, two]


def test_good_and_bad_completions_are_compared(tmp_path: Path) -> None:
    rows = [
        {"prompt": "q", "completion": text, "label": label}
        for text, label in (("a", True), ("b", False), ("c", True))
    ]
    (group,) = load_groups([DataSource(write(tmp_path, *rows))]).groups
    assert of_comparisons(group) == [(0, 1, "a", 1.0), (0, 2, "tie", 0.0), (1, 2, "b", 1.0)]


def test_a_row_without_two_rated_answers_is_counted(tmp_path: Path) -> None:
    path = write(tmp_path, ULTRAFEEDBACK, ULTRAFEEDBACK | {"completions": [{"response": "a"}]})
    data = load_groups([DataSource(path)])
    assert (len(data.groups), data.counts()) == (1, {"no comparison": 1})


def test_ties_stay_ties(tmp_path: Path) -> None:
    path = write(tmp_path, HELPSTEER3 | {"overall_preference": 0})
    (group,) = load_groups([DataSource(path)]).groups
    assert of_comparisons(group) == [(0, 1, "tie", 0.0)]


def test_scoring_a_file_of_no_known_format_ends_with_an_error(tmp_path: Path) -> None:
    rows = iter(SourceReader(DataSource(write(tmp_path, {"question": "a"}))))
    assert isinstance(next(rows), BadRow)
    with pytest.raises(DataError, match=r"jsonl:1: no known format has the fields of this row"):
        next(rows)


def error_of(*sources: DataSource) -> str:
    with pytest.raises(DataError) as caught:
        load_groups(sources)
    assert caught.value.mend
    return str(caught.value)


def test_what_is_wrong_with_a_whole_source(tmp_path: Path) -> None:
    same = write(tmp_path, pair("q", "a", "a"), name="same.jsonl")
    pairs = write(tmp_path, pair(), name="pairs.jsonl")
    texts = write(tmp_path, {"text": "a"}, name="texts.jsonl")
    odd = write(tmp_path, {"question": "a"}, {"question": "b"}, name="odd.jsonl")
    pku = write(tmp_path, PKU, name="pku.jsonl")
    assert error_of(DataSource(same)).startswith(
        f"{same}: no usable row is left of 1 (identical answers: 1); "
    )
    assert error_of(DataSource(texts)).startswith(
        f"{texts}: holds rows of the format 'text' (text), without comparisons; give it to "
    )
    with pytest.raises(DataError, match=r"texts.jsonl: holds verbatim texts"):
        list(SortedSource(DataSource(texts), need_comparisons=False))
    assert f"{odd}:1: no known format has the fields of this row: 'question'" in error_of(
        DataSource(odd)
    )
    assert f"{pairs}: unknown format 'tlr'; did you mean 'trl'?" in error_of(
        DataSource(pairs, format="tlr")
    )
    assert f"{pairs}: rows of the format 'trl' carry no choice of labels" in error_of(
        DataSource(pairs, label="safer")
    )
    assert (
        f"{pku}: rows of the format 'safe_rlhf' carry no label 'safe'; did you mean 'safer'?"
        in (error_of(DataSource(pku, label="safe")))
    )
    assert f"{pairs}:1: there is no field 'pos_resp'" in error_of(
        DataSource(pairs, format="cvalues")
    )


def test_a_missing_file_is_said_before_any_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    there, missing = write(tmp_path, pair()), str(tmp_path / "missing.jsonl")
    monkeypatch.setattr(loading, "SourceReader", None)
    assert error_of(DataSource(there), DataSource(missing)).startswith(f"{missing}: no such file")


def test_scorable_rows_keep_order_fields_and_identical_answers(tmp_path: Path) -> None:
    rows = [pair("q", "a", "a", id=1), pair("q", "", "b", id=2)]
    found = list(SourceReader(DataSource(write(tmp_path, *rows))))
    assert all(isinstance(row, tuple) for row in found)
    assert [row[1] for row in found if isinstance(row, tuple)] == rows
    groups = [row[2] for row in found if isinstance(row, tuple)]
    assert all(isinstance(group, Group) and len(group.responses) == 2 for group in groups)
    (text,) = SourceReader(DataSource(write(tmp_path, {"text": "t"}, name="t.jsonl")))
    assert isinstance(text, tuple)
    assert isinstance(text[2], VerbatimText)


def bad_rows(folder: Path) -> LoadedData:
    path = write(folder, pair(), '{"é": "\u2028', "[]")
    return load_groups([DataSource(path)], on_bad_row="skip")


def test_bad_rows_are_written_aside(tmp_path: Path) -> None:
    data = bad_rows(tmp_path)
    target = tmp_path / "bad.jsonl"
    write_bad_rows(target, data.bad_rows)
    records = [json.loads(line) for line in target.read_text("utf-8").split("\n") if line]
    assert [record["raw"] for record in records] == ['{"é": "\u2028', "[]"]
    assert records[1] == {
        "source": str(data.bad_rows[1].source),
        "what": "is not a JSON object",
        "mend": "write each row as {...}",
        "raw": "[]",
    }
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bad.jsonl", "f.jsonl"]


def test_a_failed_write_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = bad_rows(tmp_path)
    target = tmp_path / "bad.jsonl"
    target.write_text("old")

    def full(*_: object, **__: object) -> str:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(json, "dumps", full)
    with pytest.raises(OutputError, match="no space left on the device"):
        write_bad_rows(target, data.bad_rows)
    assert target.read_text() == "old"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bad.jsonl", "f.jsonl"]
    with pytest.raises(OutputError, match="cannot be written"):
        write_bad_rows(target / "where.jsonl", data.bad_rows)
