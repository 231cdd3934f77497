"""Each format: a hand-checked group, then the real files that its authors published."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from assay.data.formats import (
    FormatOptions,
    VerbatimText,
    detect_format,
    get_format,
    registered_formats,
)
from assay.data.loading import LoadedData, load_groups
from assay.data.records import Comparison, Group, Message, Response, Source, prompt_key
from assay.data.sources import DataSource
from assay.data.strict_json import JsonObject
from assay.errors import DataError

SHARED = Path(__file__).parents[2].parent / "shared/data"
HERE = Source("rows.jsonl", 7)


def system(content: str) -> Message:
    return Message("system", content)


def user(content: str) -> Message:
    return Message("user", content)


def assistant(content: str) -> Message:
    return Message("assistant", content)


def turn(role: str, content: str) -> dict[str, str]:
    return {"role": role, "content": content}


def says(*contents: str) -> tuple[Response, ...]:
    """Responses of one assistant turn each."""
    return tuple(Response((assistant(content),)) for content in contents)


@dataclass(frozen=True)
class Case:
    """A row and what it must become; comparisons default to `first beats second`."""

    format: str
    row: JsonObject
    prompt: tuple[Message, ...]
    responses: tuple[Response, ...]
    comparison: Comparison | None = field(default_factory=lambda: Comparison(0, 1, "a"))
    tools: tuple[JsonObject, ...] | None = None
    template_kwargs: JsonObject = field(default_factory=dict)
    extra: JsonObject = field(default_factory=dict)
    label: str | None = None

    def group(self) -> Group:
        return Group(
            id=f"{prompt_key(self.prompt, self.tools, self.template_kwargs)}#7",
            source=HERE,
            prompt=self.prompt,
            responses=self.responses,
            comparisons=(replace(self.comparison, row=HERE),) if self.comparison else (),
            tools=self.tools,
            template_kwargs=self.template_kwargs,
            extra=self.extra,
        )


CALL: JsonObject = {"type": "function", "function": {"name": "add", "arguments": {"a": 1}}}
TOOL: JsonObject = {"type": "function", "function": {"name": "add"}}
Q_A = [turn("user", "q"), turn("assistant", "a")]
Q_B = [turn("user", "q"), turn("assistant", "b")]
PKU: JsonObject = {
    "prompt": "q",
    "response_0": "a",
    "response_1": "b",
    "is_response_0_safe": False,
    "is_response_1_safe": True,
    "better_response_id": 0,
    "safer_response_id": 1,
}
PKU_RESPONSES = (
    Response((assistant("a"),), tags={"is_safe": "false"}),
    Response((assistant("b"),), tags={"is_safe": "true"}),
)
PKU_LABELS: JsonObject = {"better_response_id": 0, "safer_response_id": 1}

CASES = {
    "cvalues, stripped, with tags": Case(
        "cvalues",
        {
            "prompt": " 问\n",
            "pos_resp": "好 ",
            "neg_resp": "\t差",
            "pos_type": "拒绝为主 ",
            "neg_type": "风险回复",
            "id": 3,
        },
        (user("问"),),
        says("好", "差"),
        Comparison(0, 1, "a", tags={"pos_type": "拒绝为主", "neg_type": "风险回复"}),
        extra={"id": 3},
    ),
    "cvalues without types": Case(
        "cvalues",
        {"prompt": "q", "pos_resp": "a", "neg_resp": "b", "pos_type": None},
        (user("q"),),
        says("a", "b"),
    ),
    "valued messages, two turns": Case(
        "valued_messages",
        {
            "messages": [
                {"role": "user", "value": "q1"},
                {"role": "assistant", "value": "a1"},
                {"role": "user", "value": "q2"},
                {"role": "assistant", "chosen_value": "a", "rejected_value": " b"},
            ]
        },
        (user("q1"), assistant("a1"), user("q2")),
        says("a", " b"),
    ),
    "safe_rlhf, the better one by default": Case(
        "safe_rlhf", PKU, (user("q"),), PKU_RESPONSES, extra=PKU_LABELS
    ),
    "safe_rlhf, the safer one": Case(
        "safe_rlhf",
        PKU,
        (user("q"),),
        PKU_RESPONSES,
        Comparison(0, 1, "b"),
        extra=PKU_LABELS,
        label="safer",
    ),
    "hh, the last turns differ": Case(
        "hh",
        {
            "chosen": "\n\nHuman: q1\n\nAssistant: a1\n\nHuman: q2\n\nAssistant: a\n\nb ",
            "rejected": "\n\nHuman: q1\n\nAssistant: a1\n\nHuman: q2\n\nAssistant:",
        },
        (user("q1"), assistant("a1"), user("q2")),
        says("a\n\nb", ""),
    ),
    "hh, an earlier turn differs, a role speaks twice": Case(
        "hh",
        {
            "chosen": "\n\nHuman: q\n\nHuman: more\n\nAssistant: a Human: x",
            "rejected": "\n\nHuman: q\n\nAssistant: b\n\nHuman: then?\n\nAssistant: c",
        },
        (user("q"),),
        (
            Response((user("more"), assistant("a Human: x"))),
            Response((assistant("b"), user("then?"), assistant("c"))),
        ),
    ),
    "hh, the same turn behind different ones is not shared": Case(
        "hh",
        {
            "chosen": "\n\nHuman: q\n\nAssistant: a\n\nHuman: why?\n\nAssistant: c",
            "rejected": "\n\nHuman: q\n\nAssistant: b\n\nHuman: why?\n\nAssistant: d",
        },
        (user("q"),),
        (
            Response((assistant("a"), user("why?"), assistant("c"))),
            Response((assistant("b"), user("why?"), assistant("d"))),
        ),
    ),
    "hh, one conversation goes on": Case(
        "hh",
        {
            "chosen": "\n\nHuman: q\n\nAssistant: a",
            "rejected": "\n\nHuman: q\n\nAssistant: a\n\nHuman: q2\n\nAssistant: b",
        },
        (user("q"),),
        (Response((assistant("a"),)), Response((assistant("a"), user("q2"), assistant("b")))),
    ),
    "trl, explicit prompt as text, with a margin": Case(
        "trl",
        {"prompt": "q", "chosen": "a", "rejected": "", "margin": 2, "score": 1.5},
        (user("q"),),
        says("a", ""),
        Comparison(0, 1, "a", margin=2.0),
        extra={"score": 1.5},
    ),
    "trl, explicit prompt as messages": Case(
        "trl",
        {
            "prompt": [turn("system", "s"), turn("user", "q")],
            "chosen": [turn("assistant", "a")],
            "rejected": [turn("assistant", "b")],
            "tools": [TOOL],
            "chat_template_kwargs": {"enable_thinking": False},
            "margin": None,
        },
        (system("s"), user("q")),
        says("a", "b"),
        tools=(TOOL,),
        template_kwargs={"enable_thinking": False},
    ),
    "trl, the answers repeat the prompt (ultrafeedback_binarized)": Case(
        "trl",
        {"prompt": "q", "chosen": Q_A, "rejected": Q_B, "messages": Q_A},
        (user("q"),),
        says("a", "b"),
        extra={"messages": Q_A},
    ),
    "trl, the answers repeat the prompt behind a system message": Case(
        "trl",
        {
            "prompt": "q",
            "chosen": [turn("system", "s"), *Q_A],
            "rejected": [turn("system", "s"), *Q_B],
        },
        (system("s"), user("q")),
        says("a", "b"),
    ),
    "trl, the prompt is the first question of several turns": Case(
        "trl",
        {
            "prompt": "q",
            "chosen": [*Q_A, turn("user", "q2"), turn("assistant", "c")],
            "rejected": [*Q_A, turn("user", "q2"), turn("assistant", "d")],
        },
        (user("q"), assistant("a"), user("q2")),
        says("c", "d"),
    ),
    "trl, implicit prompt": Case(
        "trl",
        {"chosen": Q_A, "rejected": Q_B, "prompt": None, "source": "x"},
        (user("q"),),
        says("a", "b"),
        extra={"source": "x"},
    ),
    "trl, an answer that uses a tool": Case(
        "trl",
        {
            "prompt": "q",
            "chosen": [
                {"role": "assistant", "content": None, "tool_calls": [CALL], "name": None},
                {"role": "tool", "content": "2", "tool_call_id": "c1", "tool_calls": None},
                {"role": "assistant", "content": "2", "reasoning_content": "one and one"},
            ],
            "rejected": "3",
        },
        (user("q"),),
        (
            Response(
                (
                    Message("assistant", "", tool_calls=(CALL,)),
                    Message("tool", "2", extra={"tool_call_id": "c1"}),
                    Message("assistant", "2", reasoning_content="one and one"),
                )
            ),
            Response((assistant("3"),)),
        ),
    ),
    "responses in each of their forms": Case(
        "responses",
        {
            "prompt": "q",
            "responses": ["a", turn("assistant", "a"), [turn("assistant", "b")], ""],
            "id": "x",
        },
        (user("q"),),
        says("a", "a", "b", ""),
        None,
        extra={"id": "x"},
    ),
    "responses to messages, content in parts": Case(
        "responses",
        {
            "prompt": [
                {
                    "role": "user",
                    "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}],
                }
            ],
            "responses": ["c"],
        },
        (user("ab"),),
        says("c"),
        None,
    ),
    "messages: all behind the last user turn": Case(
        "messages",
        {
            "messages": [
                *Q_A,
                turn("user", "q2"),
                {"role": "assistant", "tool_calls": [CALL]},
                turn("tool", "2"),
                turn("assistant", "b"),
            ]
        },
        (user("q"), assistant("a"), user("q2")),
        (
            Response(
                (
                    Message("assistant", "", tool_calls=(CALL,)),
                    Message("tool", "2"),
                    assistant("b"),
                )
            ),
        ),
        None,
    ),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_a_row_becomes_its_group(case: Case) -> None:
    assert detect_format(case.row, HERE).name == case.format
    known = get_format(case.format)
    assert known.comparisons == (case.comparison is not None)
    assert known.read(case.row, HERE, FormatOptions(case.label)) == case.group()


def test_text_stays_verbatim() -> None:
    row: JsonObject = {"text": " <s>q\n", "id": 1}
    known = detect_format(row, HERE)
    assert (known.name, known.comparisons) == ("text", False)
    assert known.read(row, HERE, FormatOptions()) == VerbatimText(" <s>q\n", HERE)


def test_every_registered_format_is_tested_here() -> None:
    assert {known.name for known in registered_formats()} == {
        "text",
        *(case.format for case in CASES.values()),
    }


def test_the_telling_formats_are_tried_first() -> None:
    everything = {
        "pos_resp": "",
        "messages": [{"role": "assistant", "chosen_value": ""}],
        "response_0": "",
        "better_response_id": 0,
        "chosen": "\n\nHuman: q",
        "responses": [],
        "text": "",
    }
    order = [
        ("pos_resp", "cvalues"),
        ("messages", "valued_messages"),
        ("response_0", "safe_rlhf"),
        ("chosen", "hh"),
        ("responses", "responses"),
        ("text", "text"),
    ]
    for field_name, name in order:
        assert detect_format(everything, HERE).name == name
        del everything[field_name]
    assert detect_format({"chosen": "q", "responses": [], "messages": []}, HERE).name == "trl"
    assert detect_format({"messages": [], "text": ""}, HERE).name == "messages"


def test_unknown_formats_and_rows_name_the_known_ones() -> None:
    with pytest.raises(DataError, match=r"unknown format 'cvalue'; did you mean 'cvalues'\? known"):
        get_format("cvalue")
    with pytest.raises(DataError, match=r"rows.jsonl:7: no known format .*'qes'.*hh \(chosen"):
        detect_format({"qes": 1}, HERE)


@pytest.mark.parametrize("name", ["continue_final_message", "add_generation_prompt", "tokenize"])
def test_a_row_cannot_change_how_its_text_is_closed(name: str) -> None:  # T11
    row: JsonObject = {"prompt": "q", "responses": ["a"], "chat_template_kwargs": {name: True}}
    with pytest.raises(DataError, match=f"sets '{name}', which Assay decides"):
        get_format("responses").read(row, HERE, FormatOptions())


def load(name: str, *, label: str | None = None) -> LoadedData:
    if not (SHARED / name).exists():
        pytest.skip(f"{name} is not in {SHARED}")
    return load_groups([DataSource(str(SHARED / name), label=label)], group_by="row")


def test_real_hh() -> None:
    data = load("hh_harmless.jsonl")
    assert (data.formats, data.num_rows, len(data.groups)) == (["hh"], 1800, 1800)
    assert data.counts() == {}
    early = [g.source.line for g in data.groups if any(len(r.messages) > 1 for r in g.responses)]
    assert early == [1255, 1689]
    empty = [g.source.line for g in data.groups if not g.responses[0].messages[0].content]
    assert empty == [87, 517, 926, 1104]


def test_real_jade() -> None:
    data = load("jade_medium_zh_cvalues_schema.jsonl")
    assert (data.formats, len(data.groups), data.counts()) == (["cvalues"], 500, {})
    tags = Counter(tuple(group.comparisons[0].tags.values()) for group in data.groups)
    assert tags == {("拒绝&正向建议", "风险回复"): 500}


def test_real_cvalues() -> None:
    data = load("cvalues_sample.jsonl")
    assert (data.formats, len(data.groups), data.counts()) == (["cvalues"], 8, {})
    assert len({group.id for group in data.groups}) == 8
    assert len({group.id.split("#")[0] for group in data.groups}) == 1


def test_real_pku_under_both_labels() -> None:
    better, safer = (
        load("pku_saferlhf_sample.json", label=label).groups for label in (None, "safer")
    )
    assert len(better) == len(safer) == 32
    assert [g.responses for g in better] == [g.responses for g in safer]
    outcomes = [
        (b.comparisons[0].outcome, s.comparisons[0].outcome)
        for b, s in zip(better, safer, strict=True)
    ]
    assert sum(b != s for b, s in outcomes) == 19
    assert outcomes[0] == ("a", "b")
