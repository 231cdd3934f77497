"""Assay's own rows: what they must hold, each mistake named with its field."""

from __future__ import annotations

from typing import Any

import pytest
from group_strategies import HERE

from assay.data.formats import FormatOptions, get_format
from assay.data.records import Comparison, Group
from assay.errors import DataError


def row(**more: Any) -> dict[str, Any]:
    answers = [{"messages": [{"role": "assistant", "content": text}]} for text in "ab"]
    return {
        "assay_group": 1,
        "prompt": [{"role": "user", "content": "q"}],
        "responses": answers,
        "comparisons": [{"a": 0, "b": 1, "outcome": "b"}],
    } | more


def read(fields: dict[str, Any]) -> Group:
    group = get_format("assay").read(fields, HERE, FormatOptions())
    assert isinstance(group, Group)
    return group


def test_the_least_row() -> None:
    group = read(row())
    assert group.comparisons == (Comparison(0, 1, "b", row=HERE),)
    assert group.id.endswith("#7")
    assert (group.weight, group.extra, group.rankings, group.tools) == (1.0, {}, (), None)


def compared(**more: Any) -> dict[str, Any]:
    return row(comparisons=[{"a": 0, "b": 1, "outcome": "b"} | more])


def answered(**more: Any) -> dict[str, Any]:
    first, second = row()["responses"]
    return row(responses=[first | more, second])


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        (row(assay_group=2), "'assay_group' is not 1"),
        (row(prompt="q"), "'prompt' is text, not a list of messages"),
        (row(prompt=[]), "the prompt is empty"),
        (row(responses=None, comparisons=None) | {"responses": 3}, "'responses' is a number"),
        (answered(messages=[]), r"'responses\[0\].messages' holds no answer"),
        (answered(ratings={"x": "high"}), r"'responses\[0\].ratings.x' is text, not a number"),
        (answered(tags={"x": 1}), r"'responses\[0\].tags.x' is a number, not text"),
        (compared(a=2), r"'comparisons\[0\].a' names response 2 of 2"),
        (compared(b=-1), r"'comparisons\[0\].b' names response -1 of 2"),
        (compared(a=True), r"'comparisons\[0\].a' is true"),
        (compared(outcome="c"), "'outcome' is 'c', not a, b or tie"),
        (compared(outcome=None), r"'comparisons\[0\].outcome' is null, not text"),
        (compared(margin="2"), r"'comparisons\[0\].margin' is text, not a number"),
        (row(rankings=[[0, 1]]), r"'rankings\[0\]\[0\]' is a number, not a list"),
        (row(rankings=[[[0], [5]]]), r"'rankings\[0\]\[1\]' names response 5 of 2"),
        (row(extra=[]), "'extra' is a list, not an object"),
        (row(weight="x"), "'weight' is text, not a number"),
        (row(weight=-1), "'weight' is below 0"),
        (compared(weight=-0.5), r"'comparisons\[0\].weight' is below 0"),
    ],
)
def test_mistakes(fields: dict[str, Any], said: str) -> None:
    with pytest.raises(DataError, match=said):
        read(fields)
