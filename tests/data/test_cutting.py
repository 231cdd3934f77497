"""Prompts that are cut: exactly so much, for all responses alike, and never a response."""

from __future__ import annotations

from typing import Any

import pytest

from assay.data.encoding import EncodedData, encode_groups
from assay.data.records import Comparison, Group, Message, Response, Source
from assay.data.rendering import Renderer
from assay.data.templates import ResolvedTemplate

TEMPLATE = (
    "{% for message in messages %}{{ message.role[0] }}{{ message.content }}{% endfor %}"
    "{{ '' if add_generation_prompt else eos_token }}"
)
"""One letter is one token; a turn is its role's letter and its text: u s a."""


def group_of(turns: str, *answers: str) -> Group:
    """`s:xy u:q a:b u:r`, and the answers; all are compared with the first."""
    roles = {"s": "system", "u": "user", "a": "assistant"}
    prompt = [part.split(":") for part in turns.split()]
    return Group(
        id="1",
        source=Source("rows.jsonl", 1),
        prompt=tuple(Message(roles[role], text) for role, text in prompt),
        responses=tuple(Response((Message("assistant", text),)) for text in answers),
        comparisons=tuple(
            Comparison(0, b, "a", row=Source("rows.jsonl", b)) for b in range(1, len(answers))
        ),
    )


def encode(tokenizer: Any, group: Group, max_length: int, over_length: Any) -> EncodedData:
    renderer = Renderer(tokenizer, ResolvedTemplate("test", TEMPLATE))
    return encode_groups([group], renderer, max_length=max_length, over_length=over_length)


def texts(tokenizer: Any, data: EncodedData) -> list[str]:
    ends = len("<|im_end|>")
    return [tokenizer.decode(ids)[:-ends] for group in data.groups for ids in group.sequences]


TURNS = "s:S u:111 a:22 u:333 a:4 u:5"
"""12 + the answer: s S, u111, a22, u333, a4, u5 are 2 4 3 4 2 2 = 17 letters."""


@pytest.mark.parametrize(
    ("max_length", "expected"),
    [
        (21, "sSu111a22u333a4u5"),  # 17 + aXX + end
        (20, "sSu333a4u5"),
        (14, "sSu333a4u5"),
        (13, "sSu5"),
        (8, "sSu5"),
    ],
)
def test_whole_turns(tiny_tokenizer: Any, max_length: int, expected: str) -> None:
    data = encode(tiny_tokenizer, group_of(TURNS, "X", "YY"), max_length, "drop_oldest_turns")
    assert texts(tiny_tokenizer, data) == [f"{expected}aX", f"{expected}aYY"]
    assert data.cut_prompts == (max_length < 21)
    kept = "".join(f"{message.role[0]}{message.content}" for message in data.groups[0].group.prompt)
    assert kept == expected
    assert not data.skipped


def test_whole_turns_that_do_not_help(tiny_tokenizer: Any) -> None:
    data = encode(tiny_tokenizer, group_of(TURNS, "X", "YY"), 7, "drop_oldest_turns")
    assert [row.reason for row in data.skipped] == ["over 7 tokens"]
    assert (len(data.groups), data.cut_prompts) == (0, 0)


@pytest.mark.parametrize("over_length", ["drop_oldest_turns", "truncate_prompt_left"])
def test_a_response_that_cannot_fit_does_not_cost_the_others_their_prompt(
    tiny_tokenizer: Any, over_length: str
) -> None:
    data = encode(tiny_tokenizer, group_of(TURNS, "X", "YY", "Z" * 30), 21, over_length)
    assert texts(tiny_tokenizer, data) == ["sSu111a22u333a4u5aX", "sSu111a22u333a4u5aYY"]
    assert [(str(row.source), row.reason) for row in data.skipped] == [
        ("rows.jsonl:2", "over 21 tokens")
    ]
    assert data.cut_prompts == 0
    data = encode(tiny_tokenizer, group_of(TURNS, "X", "YY", "Z" * 30), 20, over_length)
    assert data.cut_prompts == 1
    assert max(map(len, data.groups[0].sequences)) <= 20


@pytest.mark.parametrize(
    ("max_length", "expected"),
    [
        (21, "sSu111a22u333a4u5"),
        (20, "sSu11a22u333a4u5"),  # behind the system message and the mark of the role
        (12, "sSu3a4u5"),
        (8, "sSu5"),  # the last token of the prompt stays
    ],
)
def test_tokens_from_the_left(tiny_tokenizer: Any, max_length: int, expected: str) -> None:
    data = encode(tiny_tokenizer, group_of(TURNS, "X", "YY"), max_length, "truncate_prompt_left")
    assert texts(tiny_tokenizer, data) == [f"{expected}aX", f"{expected}aYY"]
    assert max(map(len, data.groups[0].sequences)) == max_length
    assert data.cut_prompts == (max_length < 21)


def test_tokens_that_do_not_suffice(tiny_tokenizer: Any) -> None:
    data = encode(tiny_tokenizer, group_of(TURNS, "X", "YY"), 7, "truncate_prompt_left")
    assert [row.reason for row in data.skipped] == ["over 7 tokens"]


def test_what_answers_have_in_common_is_no_prompt(tiny_tokenizer: Any) -> None:
    """Both answers begin alike: the cut ends where the prompt does."""
    group = group_of("u:12345", "same X", "same Y")
    whole = len("u12345asame X") + 1
    data = encode(tiny_tokenizer, group, whole - 4, "truncate_prompt_left")
    assert texts(tiny_tokenizer, data) == ["u5asame X", "u5asame Y"]
    data = encode(tiny_tokenizer, group, whole - 5, "truncate_prompt_left")
    assert (len(data.groups), len(data.skipped)) == (0, 1)


def test_identical_by_cutting(tiny_tokenizer: Any) -> None:
    """A template that shows the second answer's letter only where the first turn is still there."""
    peculiar = (
        "{{ messages | map(attribute='content') | join }}"
        "{{ '!' if messages | length > 3 and messages[-1].content == 'bb' }}{{ eos_token }}"
    )
    shown = "{{ messages[:-1] | map(attribute='content') | join }}{{ messages[-1].content[0] }}"
    group = group_of("u:1111 a:2 u:3", "ba", "bb")
    renderer = Renderer(
        tiny_tokenizer,
        ResolvedTemplate("test", shown + peculiar[peculiar.index("{{ '!'") :]),
    )
    for max_length, reason in ((9, None), (6, "identical after cutting")):
        data = encode_groups(
            [group], renderer, max_length=max_length, over_length="drop_oldest_turns"
        )
        assert [row.reason for row in data.skipped] == ([reason] if reason else [])
