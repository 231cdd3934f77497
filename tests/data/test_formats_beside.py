"""What stands beside prompt and answers is read alike in every format, or refused in every one."""

from __future__ import annotations

import json
from typing import Any

import pytest
from format_cases import CASES, HERE, Case, assistant, says, system, user
from published_cases import PUBLISHED

from assay.data.formats import FormatOptions, detect_format, get_format
from assay.data.records import Group
from assay.data.strict_json import JsonObject
from assay.errors import DataError

ALL = {name: case for name, case in (CASES | PUBLISHED).items() if case.prompt[0].role != "system"}
TOOL: JsonObject = {"type": "function", "function": {"name": "add", "parameters": {}}}
BESIDE: JsonObject = {
    "system": "be a pirate",
    "tools": [TOOL],
    "chat_template_kwargs": {"enable_thinking": False},
}


def read(row: JsonObject, *, label: str | None = None) -> Group:
    group = detect_format(row, HERE).read(row, HERE, FormatOptions(label))
    assert isinstance(group, Group)
    return group


@pytest.mark.parametrize("case", ALL.values(), ids=ALL)
def test_what_the_model_reads_is_dropped_by_no_format(case: Case) -> None:
    group = read(case.row | BESIDE, label=case.label)
    assert detect_format(case.row | BESIDE, HERE).name == case.format
    assert group.prompt == (system("be a pirate"), *case.prompt)
    assert group.tools == (TOOL,)
    assert group.template_kwargs == {"enable_thinking": False}
    assert group.responses == case.responses
    assert group.extra == case.extra


@pytest.mark.parametrize("case", ALL.values(), ids=ALL)
def test_the_only_comparison_of_a_row_has_its_margin(case: Case) -> None:
    stated = [comparison.margin for comparison in case.group().comparisons]
    group = read(case.row | {"margin": 0.25}, label=case.label)
    margins = [comparison.margin for comparison in group.comparisons]
    if stated == [None] or "margin" in case.row or case.format == "ultrafeedback_binarized":
        assert margins == [0.25]
        assert "margin" not in group.extra
    else:  # Ratings and signed preferences tell it themselves.
        assert margins == stated
        assert group.extra["margin"] == 0.25


@pytest.mark.parametrize("case", ALL.values(), ids=ALL)
def test_rows_with_pictures_films_or_sounds_are_refused(case: Case) -> None:
    for field in ("images", "image", "videos", "video", "audios", "audio"):
        for empty in ([], None, "", {}):
            read(case.row | {field: empty}, label=case.label)
        for held in (["a.png"], "a.png", {"bytes": "aGk="}):
            with pytest.raises(DataError, match=f"'{field}' is not empty, and only text can be"):
                read(case.row | {field: held}, label=case.label)


def test_a_text_that_stands_as_it_is_has_no_pictures_either() -> None:
    with pytest.raises(DataError, match="'images' is not empty"):
        get_format("text").read({"text": "a", "images": ["a.png"]}, HERE, FormatOptions())


def test_the_systems_of_two_rows_make_two_prompts() -> None:
    row: JsonObject = {"prompt": "q", "chosen": "a", "rejected": "b"}
    assert read(row | {"system": "x"}).prompt == (system("x"), user("q"))
    assert read(row | {"system": None}).prompt == read(row | {"system": ""}).prompt == (user("q"),)
    with pytest.raises(DataError, match="'system' is a list, not text"):
        read(row | {"system": ["x"]})


def test_a_system_message_in_the_prompt_goes_before_the_one_beside() -> None:
    def turns(answer: str) -> list[dict[str, str]]:
        return [message.as_dict() for message in (system("own"), user("q"), assistant(answer))]

    row: JsonObject = {"chosen": turns("a"), "rejected": turns("b"), "system": "beside"}
    assert read(row).prompt == (system("own"), user("q"))
    assert read(row | {"prompt": "q", "subset": "s"}).prompt == (system("own"), user("q"))
    assert read(row | {"input": "q"}).responses == says("a", "b")


def test_tools_may_be_json_text_in_every_format() -> None:
    row: JsonObject = {"prompt": "q", "chosen": "a", "rejected": "b"}
    assert read(row | {"tools": json.dumps([TOOL])}).tools == (TOOL,)
    for none in ("", "[]", [], None):
        assert read(row | {"tools": none}).tools is None


SHAREGPT: JsonObject = {
    "conversations": [{"from": "human", "value": "q"}],
    "chosen": {"from": "gpt", "value": "a"},
    "rejected": {"from": "gpt", "value": "b"},
}


@pytest.mark.parametrize(
    ("text", "what"),
    [
        (r'{"name": "\ud800"}', "holds half of a surrogate pair"),
        ('{"name": "f", "x": NaN}', "NaN is not a JSON number"),
        ('{"name": "f", "name": "g"}', "the field 'name' is given twice"),
        ('{"name": "f", "x": ' + "9" * 5000 + "}", "a number has 5000 digits"),
        ('{"name": ' + "[" * 300 + "]" * 300 + "}", "nested more than 100 levels deep"),
    ],
)
def test_json_inside_text_is_read_as_strictly_as_the_row(text: str, what: str) -> None:
    call: Any = [
        {"from": "human", "value": "q"},
        {"from": "function_call", "value": text},
        {"from": "observation", "value": "r"},
    ]
    for row, field in (
        (SHAREGPT | {"tools": f"[{text}]"}, "tools"),
        (SHAREGPT | {"conversations": call}, "conversations[1].value"),
    ):
        with pytest.raises(DataError) as caught:
            read(row)
        assert caught.value.what.startswith(f"the JSON text '{field}' has a flaw: {what}")
        assert caught.value.mend
