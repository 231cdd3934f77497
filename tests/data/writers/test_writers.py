"""Each target: a hand-written row, and every reason for which a comparison is left out."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from group_strategies import HERE, call, tool

from assay.data.records import Comparison, Group, Message, Response
from assay.data.writers import Detail, LeftOut, get_writer
from assay.data.writers.registry import _REGISTRY
from assay.errors import ConfigError


def turn(role: str, content: str) -> dict[str, str]:
    return {"role": role, "content": content}


def user(content: str) -> Message:
    return Message("user", content)


def assistant(content: str, **more: Any) -> Message:
    return Message("assistant", content, **more)


def says(*contents: str) -> tuple[Response, ...]:
    return tuple(Response((assistant(content),)) for content in contents)


def group(*prompt: Message, **more: Any) -> Group:
    """`b` is better than `a`, by 2."""
    comparison = Comparison(0, 1, "b", margin=2.0, row=HERE)
    fields: dict[str, Any] = {"responses": says("a", "b"), "comparisons": (comparison,)} | more
    return Group("id", HERE, prompt or (user("q"),), **fields)


TWO_TURNS = (Message("system", "s"), user("q"), assistant("r"), user("t"))

ROWS: dict[str, tuple[Group, dict[str, Any]]] = {
    "trl": (
        group(*TWO_TURNS, tools=(tool,), template_kwargs={"x": 1}),
        {
            "prompt": [
                turn("system", "s"),
                turn("user", "q"),
                turn("assistant", "r"),
                turn("user", "t"),
            ],
            "chosen": [turn("assistant", "b")],
            "rejected": [turn("assistant", "a")],
            "margin": 2.0,
            "tools": [tool],
            "chat_template_kwargs": {"x": 1},
        },
    ),
    "llamafactory": (
        group(*TWO_TURNS, tools=(tool,)),
        {
            "conversations": [
                {"from": "human", "value": "q"},
                {"from": "gpt", "value": "r"},
                {"from": "human", "value": "t"},
            ],
            "chosen": {"from": "gpt", "value": "b"},
            "rejected": {"from": "gpt", "value": "a"},
            "system": "s",
            "tools": json.dumps([tool]),
        },
    ),
    "openrlhf": (
        group(user("q")),
        {
            "chosen": [turn("user", "q"), turn("assistant", "b")],
            "rejected": [turn("user", "q"), turn("assistant", "a")],
            "margin": 2.0,
        },
    ),
    "ms-swift": (
        group(Message("system", "s"), user("q"), tools=(tool,)),
        {
            "messages": [turn("system", "s"), turn("user", "q"), turn("assistant", "b")],
            "rejected_response": "a",
            "margin": 2.0,
            "tools": [tool],
        },
    ),
    "messages": (
        group(Message("system", "s"), user("q")),
        {
            "messages": [
                {"role": "system", "value": "s"},
                {"role": "user", "value": "q"},
                {"role": "assistant", "chosen_value": "b", "rejected_value": "a"},
            ]
        },
    ),
    "cvalues": (
        group(
            user("q"),
            comparisons=(
                Comparison(0, 1, "b", tags={"pos_type": "p", "neg_type": "n", "topic": "t"}),
            ),
        ),
        {"prompt": "q", "pos_resp": "b", "neg_resp": "a", "pos_type": "p", "neg_type": "n"},
    ),
    "hh": (
        group(user("q"), assistant("r"), user("t")),
        {
            "chosen": "\n\nHuman: q\n\nAssistant: r\n\nHuman: t\n\nAssistant: b",
            "rejected": "\n\nHuman: q\n\nAssistant: r\n\nHuman: t\n\nAssistant: a",
        },
    ),
    "nemo_rl": (
        group(user("q")),
        {
            "context": [turn("user", "q")],
            "completions": [
                {"rank": 0, "completion": [turn("assistant", "b")]},
                {"rank": 1, "completion": [turn("assistant", "a")]},
            ],
        },
    ),
    "assay": (
        group(
            user("q"),
            responses=(
                Response((assistant("a"),), ratings={"helpful": 1.0}),
                Response((assistant("b"),), tags={"model": "m"}),
            ),
            comparisons=(
                Comparison(0, 1, "b", margin=2.0, weight=0.5, tags={"x": "y"}, row=HERE),
                Comparison(1, 0, "tie"),
            ),
            rankings=(((1,), (0,)),),
            weight=3.0,
            tools=(tool,),
            template_kwargs={"x": 1},
            extra={"id": 5},
        ),
        {
            "assay_group": 1,
            "id": "id",
            "source": "rows.jsonl:7",
            "prompt": [turn("user", "q")],
            "responses": [
                {"messages": [turn("assistant", "a")], "ratings": {"helpful": 1.0}},
                {"messages": [turn("assistant", "b")], "tags": {"model": "m"}},
            ],
            "comparisons": [
                {
                    "a": 0,
                    "b": 1,
                    "outcome": "b",
                    "margin": 2.0,
                    "weight": 0.5,
                    "tags": {"x": "y"},
                    "row": "rows.jsonl:7",
                },
                {"a": 1, "b": 0, "outcome": "tie"},
            ],
            "tools": [tool],
            "chat_template_kwargs": {"x": 1},
            "rankings": [[[1], [0]]],
            "weight": 3.0,
            "extra": {"id": 5},
        },
    ),
}

LOST = {
    "llamafactory": {Detail.MARGIN},
    "messages": {Detail.MARGIN},
    "cvalues": {Detail.TAGS},
    "hh": {Detail.MARGIN},
    "nemo_rl": {Detail.MARGIN},
}


def test_every_target_has_a_row_here() -> None:
    assert set(ROWS) == set(_REGISTRY)


@pytest.mark.parametrize("target", ROWS)
def test_row(target: str) -> None:
    known, row = ROWS[target]
    written = get_writer(target).write(known)
    assert written.rows == [row]
    assert set(written.lost) == LOST.get(target, set())
    assert not written.left_out


def test_an_answer_of_several_messages_in_ms_swift() -> None:
    long = Response((assistant("a"), user("more"), assistant("c")))
    [row] = get_writer("ms-swift").write(group(responses=(long, *says("b")))).rows
    assert row["rejected_messages"] == [
        turn("user", "q"),
        turn("assistant", "a"),
        turn("user", "more"),
        turn("assistant", "c"),
    ]
    assert "rejected_response" not in row


CALLS = Response((assistant("", tool_calls=(call,)),))
LONG = Response((assistant("a"), user("more"), assistant("c")))
TIE = (Comparison(0, 1, "tie"),)

REFUSALS: list[tuple[str, Group, str]] = [
    (
        "trl openrlhf ms-swift llamafactory messages cvalues hh nemo_rl",
        group(comparisons=TIE),
        "tie",
    ),
    (
        "trl openrlhf ms-swift llamafactory messages cvalues hh nemo_rl",
        group(comparisons=()),
        LeftOut.NONE,
    ),
    ("cvalues hh", group(Message("system", "s"), user("q")), LeftOut.SYSTEM),
    ("llamafactory", group(Message("system", ""), user("q")), LeftOut.EMPTY_SYSTEM),
    ("cvalues", group(user("q"), assistant("r"), user("t")), LeftOut.TURNS),
    ("cvalues hh", group(assistant("q")), LeftOut.ROLE),
    ("ms-swift llamafactory nemo_rl", group(Message("developer", "d"), user("q")), LeftOut.ROLE),
    ("llamafactory", group(user("q"), user("t")), LeftOut.ALTERNATION),
    ("llamafactory", group(user("q"), assistant("r")), LeftOut.ALTERNATION),
    (
        "llamafactory messages cvalues nemo_rl",
        group(responses=(LONG, *says("b"))),
        LeftOut.ANSWER,
    ),
    ("trl", group(responses=(Response((user("u"), assistant("a"))), *says("b"))), LeftOut.OPENING),
    ("trl", group(assistant("a"), responses=says("a", "b")), LeftOut.REPEATED),
    (
        "ms-swift llamafactory messages cvalues hh nemo_rl",
        group(responses=(CALLS, *says("b"))),
        LeftOut.PARTS,
    ),
    (
        "ms-swift llamafactory messages cvalues hh nemo_rl",
        group(responses=(Response((assistant("a", reasoning_content="hm"),)), *says("b"))),
        LeftOut.PARTS,
    ),
    ("openrlhf messages cvalues hh nemo_rl", group(tools=(tool,)), LeftOut.TOOLS),
    ("ms-swift", group(tools=(tool,), responses=(LONG, *says("b"))), LeftOut.TOOLS),
    ("llamafactory ms-swift", group(tools=(tool, {"name": "bare"})), LeftOut.BARE_TOOLS),
    (
        "openrlhf ms-swift llamafactory messages cvalues hh nemo_rl",
        group(template_kwargs={"x": 1}),
        LeftOut.ARGUMENTS,
    ),
    ("ms-swift", group(responses=says("a", "a")), LeftOut.IDENTICAL),
    ("cvalues hh", group(responses=says("a", "a ")), LeftOut.IDENTICAL),
    ("cvalues hh", group(user(" ")), LeftOut.BLANK),
    ("hh", group(user("see\n\nAssistant: no")), LeftOut.MARKS),
    ("hh", group(responses=says("a\n\nHuman: ", "b")), LeftOut.MARKS),
]


@pytest.mark.parametrize(
    ("target", "known", "reason"),
    [
        pytest.param(target, known, reason, id=f"{target}-{reason}-{number}")
        for number, (targets, known, reason) in enumerate(REFUSALS)
        for target in targets.split()
    ],
)
def test_left_out(target: str, known: Group, reason: str) -> None:
    written = get_writer(target).write(known)
    assert written.rows == []
    assert dict(written.left_out) == {reason: 1}
    assert not written.lost


def test_every_reason_has_an_example() -> None:
    shown = {reason for _, _, reason in REFUSALS}
    assert shown == set(LeftOut)


def test_what_is_said_of_a_comparison_and_has_no_place_is_counted() -> None:
    rated = Response((assistant("a"),), ratings={"x": 1.0}, tags={"m": "n"})
    known = group(
        responses=(rated, *says("b", "c")),
        comparisons=(
            Comparison(0, 1, "b", margin=1.0, weight=2.0, tags={"k": "v"}),
            Comparison(1, 2, "a"),
        ),
        rankings=(((0,), (1,), (2,)),),
        extra={"id": 1},
    )
    assert dict(get_writer("nemo_rl").write(known).lost) == {
        Detail.MARGIN: 1,
        Detail.WEIGHT: 1,
        Detail.TAGS: 1,
        Detail.RATINGS: 1,
        Detail.RESPONSE_TAGS: 1,
        Detail.RANKING: 2,
        Detail.FIELDS: 2,
    }
    assert Detail.MARGIN not in get_writer("trl").write(known).lost


def test_space_around_texts_and_the_seam_are_counted() -> None:
    spaced = group(user(" q"), comparisons=(Comparison(0, 1, "a"),))
    for target in ("cvalues", "hh"):
        assert dict(get_writer(target).write(spaced).lost) == {Detail.SPACE: 1}
    alike = tuple(Response((assistant("x"), user("y"), assistant(end))) for end in "ab")
    known = group(responses=alike, comparisons=(Comparison(0, 1, "a"),))
    for target in ("openrlhf", "hh", "ms-swift"):
        assert dict(get_writer(target).write(known).lost) == {Detail.SEAM: 1}
    assert not get_writer("trl").write(known).lost


def test_an_unknown_target_names_the_nearest() -> None:
    with pytest.raises(ConfigError, match="did you mean 'ms-swift'") as caught:
        get_writer("ms-swif", others=["mindrecord"])
    assert "mindrecord" in str(caught.value)


def test_the_group_is_left_as_it_was() -> None:
    known, _ = ROWS["assay"]
    before = replace(known)
    for writer in _REGISTRY.values():
        writer.write(known)
    assert known == before


def test_ms_swift_replaces_only_what_stands_behind_a_user_turn() -> None:
    [row] = get_writer("ms-swift").write(group(user("q"), assistant("r"))).rows
    assert row["rejected_messages"] == [
        turn("user", "q"),
        turn("assistant", "r"),
        turn("assistant", "a"),
    ]
