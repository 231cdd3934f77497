"""Texts of policies become the messages that they were made of, and nothing is read by halves."""

from __future__ import annotations

import contextlib
import time
from pathlib import Path
from typing import Any

import pytest
from asking import Make, Served
from hypothesis import given, settings
from hypothesis import strategies as st

from assay.data.records import Message
from assay.errors import DataError
from assay.model.reward_model import RewardModel
from assay.serve.policy_templates import TEMPLATES, messages_of, policy_template


def im(turns: list[tuple[str, str]]) -> str:
    return "".join(f"<|im_start|>{role}\n{content}<|im_end|>\n" for role, content in turns)


def qwen(turns: list[tuple[str, str]]) -> str:
    own = "You are Qwen, created by Alibaba Cloud. You are a helpful assistant."
    return im(turns if turns[0][0] == "system" else [("system", own), *turns])


def smollm(turns: list[tuple[str, str]]) -> str:
    own = "You are a helpful AI assistant named SmolLM, trained by Hugging Face"
    return im(turns if turns[0][0] == "system" else [("system", own), *turns])


def llama3(turns: list[tuple[str, str]]) -> str:
    date = "Cutting Knowledge Date: December 2023\nToday Date: 26 Jul 2024\n\n"
    system = turns[0][1] if turns[0][0] == "system" else ""
    rest = turns[1:] if turns[0][0] == "system" else turns
    return "<|begin_of_text|>" + "".join(
        f"<|start_header_id|>{role}<|end_header_id|>\n\n{content}<|eot_id|>"
        for role, content in [("system", date + system), *rest]
    )


def gemma(turns: list[tuple[str, str]]) -> str:
    names = {"assistant": "model"}
    return "<bos>" + "".join(
        f"<start_of_turn>{names.get(role, role)}\n{content}<end_of_turn>\n"
        for role, content in turns
    )


def phi3(turns: list[tuple[str, str]]) -> str:
    body = "".join(f"<|{role}|>\n{content}<|end|>\n" for role, content in turns)
    return f"<s>{body}<|endoftext|>"


def mistral(turns: list[tuple[str, str]]) -> str:
    return "<s>" + "".join(
        f"[INST] {content} [/INST]" if role == "user" else f" {content}</s>"
        for role, content in turns
    )


def deepseek(turns: list[tuple[str, str]]) -> str:
    marks = {"user": "<｜User｜>", "assistant": "<｜Assistant｜>", "system": ""}
    return "<｜begin▁of▁sentence｜>" + "".join(
        marks[role] + content + ("<｜end▁of▁sentence｜>" if role == "assistant" else "")
        for role, content in turns
    )


WRITERS: dict[str, Any] = {
    "chatml": im,
    "qwen": qwen,
    "smollm": smollm,
    "llama3": llama3,
    "gemma": gemma,
    "phi3": phi3,
    "mistral": mistral,
    "deepseek": deepseek,
}
NO_SYSTEM = ("gemma", "mistral")
CONTENT = st.text(st.characters(exclude_categories=["Cs"]), min_size=1).map(str.strip).filter(bool)


def test_every_template_is_tried_here() -> None:
    assert WRITERS.keys() == TEMPLATES.keys()


@pytest.mark.parametrize("name", WRITERS)
@settings(max_examples=25)
@given(data=st.data())
def test_a_text_is_its_messages_again(name: str, data: st.DataObject) -> None:
    turns = [("user", data.draw(CONTENT)), ("assistant", data.draw(CONTENT))]
    if data.draw(st.booleans()):
        turns += [("user", data.draw(CONTENT)), ("assistant", data.draw(CONTENT))]
    if name not in NO_SYSTEM and data.draw(st.booleans()):
        turns.insert(0, ("system", data.draw(CONTENT)))
    template = policy_template(name)
    found = messages_of(WRITERS[name](turns), template)
    assert found == tuple(Message(role, content) for role, content in turns)


@pytest.mark.parametrize("name", WRITERS)
def test_an_answer_that_was_cut_off_has_no_end(name: str) -> None:
    turns = [("user", "a\n\nb"), ("assistant", "c 'd' and")]
    text = WRITERS[name](turns)
    bare = text[: text.rindex("and") + 3]
    assert messages_of(bare, policy_template(name))[-1] == Message("assistant", "c 'd' and")


@pytest.mark.parametrize(
    ("name", "text", "why"),
    [
        ("qwen", "hello", "character 0"),
        ("qwen", "", "not the assistant's"),
        ("qwen", im([("user", "a")]), "not the assistant's"),
        ("qwen", im([("user", "a"), ("assistant", "b")]) + "more", "no turn of it"),
        ("qwen", "x" + im([("user", "a"), ("assistant", "b")]), "character 0"),
        ("qwen", "<|im_start|>user\na" + im([("assistant", "b")]), "inside a turn"),
        ("qwen", im([("user", "a"), ("tool", "b"), ("assistant", "c")]), "tools"),
        (
            "qwen",
            im([("user", "<tool_response>\nb\n</tool_response>"), ("assistant", "c")]),
            "tools",
        ),
        ("llama3", im([("user", "a"), ("assistant", "b")]), "character 0"),
        ("llama3", llama3([("user", "a"), ("ipython", "b"), ("assistant", "c")]), "tools"),
        ("gemma", "<bos><start_of_turn>user\nhi<end_of_turn>", "not the assistant's"),
        ("mistral", "[INST] a [INST] b [/INST] c</s>", "inside a turn"),
        ("mistral", "<s>a</s>", "character 0"),
        ("deepseek", "<｜User｜>a", "character 0"),
    ],
)
def test_what_does_not_fit_is_refused(name: str, text: str, why: str) -> None:
    with pytest.raises(DataError, match=name) as refused:
        messages_of(text, policy_template(name))
    assert why in str(refused.value)
    assert "hello" not in str(refused.value)


def test_what_nobody_wrote_is_left_out() -> None:
    turns = [("user", "a"), ("assistant", "<think>\n\n</think>\n\nb")]
    assert messages_of(qwen(turns), policy_template("qwen"))[-1] == Message("assistant", "b")
    thought = "<think>\nhm\n</think>\n\nb"
    kept = messages_of(qwen([("user", "a"), ("assistant", thought)]), policy_template("qwen"))
    assert kept[-1].content == thought
    padded = "<|endoftext|>" * 3 + qwen(turns) + "<|endoftext|>" * 2
    assert len(messages_of(padded, policy_template("qwen"))) == 2


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("qwen", "<|endoftext|>" * 200_000 + "x"),
        ("qwen", "x" + "<|endoftext|>" * 200_000),
        ("qwen", "<|im_start|>user\n" * 100_000),
        ("deepseek", "<｜User｜>" * 200_000),
        ("mistral", "[INST]" * 300_000),
        ("llama3", llama3([("system", "Cutting Knowledge Date: " * 80_000), ("assistant", "a")])),
        ("gemma", "<start_of_turn>model\n<think>" * 60_000),
    ],
)  # fmt: skip
def test_no_text_takes_long(name: str, text: str) -> None:
    """Two million characters that make patterns look again and again."""
    began = time.process_time()
    with contextlib.suppress(DataError):
        messages_of(text, policy_template(name))
    assert time.process_time() - began < 1


def test_an_unknown_template_names_its_neighbours() -> None:
    with pytest.raises(DataError, match="did you mean 'llama3'"):
        policy_template("llama-3")


@pytest.mark.parametrize("name", ["chatml", "qwen", "llama3", "gemma", "phi3", "mistral"])
def test_rewards_are_those_of_the_messages(
    server: Served, serving: Make, model: RewardModel, name: str
) -> None:
    """Whatever the policy's template, the model reads its own."""
    turns = [("user", "Is it safe?"), ("assistant", "Look at the label first.")]
    text = WRITERS[name](turns)
    (expected,) = model.score("Is it safe?", ["Look at the label first."])
    option = serving(reading={"input_template": name})
    for served, extra in ((server, {"input_template": name}), (option, {})):
        found = [
            served.post("/v1/reward", {"texts": [text]} | extra).json()["rewards"],
            served.post("/classify", {"input": text} | extra).json()["data"][0]["probs"],
            served.post("/classify", {"text": text} | extra).json()["embedding"],
            served.post("/get_reward", {"query": [text]} | extra).json()["rewards"],
            served.post("/v1/score/evaluation", {"messages": [text]} | extra).json()["scores"],
            served.post(
                "/get_reward", {"prompts": [text[:20]], "responses": [text[20:]]} | extra
            ).json()["rewards"],
        ]
        assert found == [pytest.approx([expected], rel=1e-6)] * 6
    as_it_stands = option.post("/v1/reward", {"texts": [text], "input_template": "none"}).json()
    if name != "chatml":
        assert as_it_stands["rewards"] != pytest.approx([expected], rel=1e-6)


def test_what_a_real_template_writes(smollm: Path) -> None:
    """Of the directory's own Jinja, not of a writer here."""
    from assay.data.rendering import load_tokenizer

    tokenizer = load_tokenizer(str(smollm))
    for turns in (
        [("user", "a\n\nb"), ("assistant", "c")],
        [
            *(("system", "Be brief."), ("user", "a"), ("assistant", "b")),
            *(("user", "c"), ("assistant", "d <|x|>")),
        ],
    ):
        messages = [{"role": role, "content": content} for role, content in turns]
        text = tokenizer.apply_chat_template(messages, tokenize=False)
        found = messages_of(text, policy_template("smollm"))
        assert [(message.role, message.content) for message in found] == turns


def test_a_text_that_does_not_fit_has_its_place(server: Served) -> None:
    good = im([("user", "a"), ("assistant", "b")])
    body = {"query": [good, "no template at all"], "input_template": "qwen"}
    refused = server.post("/get_reward", body)
    assert refused.status_code == 422
    assert refused.json()["error"]["param"] == "query[1]"
