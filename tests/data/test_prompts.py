"""Which prompts are the same: for the split by prompt as for the audit's leaks."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from assay.data.audit import audit
from assay.data.prompts import asked, message_text, normalised, normalised_prompt_hash
from assay.data.records import Message
from assay.data.sources import DataSource


def says(*turns: str) -> tuple[Message, ...]:
    """Messages of `role: content`."""
    return tuple(Message(*turn.split(": ", 1)) for turn in turns)


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        (says("user: What is  it?"), says("user: what is it?"), True),
        (says("user: ＡＢＣ\n"), says("user: abc"), True),
        (says("user: Straße"), says("user: STRASSE"), True),
        (says("user: a b"), says("user: ab"), False),
        (says("system: You are A.", "user: q"), says("system: You are B.", "user: q"), True),
        (says("system: You are A.", "user: q"), says("user: q"), True),
        (says("developer: Be brief.", "user: q"), says("user: q"), True),
        (says("user: q", "assistant: a", "user: r"), says("user: r"), False),
        (says("system: Write A."), says("system: Write B."), False),
        (says("user: \ud800"), says("user: \ud801"), False),
    ],
)
def test_which_prompts_are_the_same(
    one: tuple[Message, ...], other: tuple[Message, ...], same: bool, tmp_path: Path
) -> None:
    assert (normalised_prompt_hash(one) == normalised_prompt_hash(other)) == same
    if "\ud800" not in one[-1].content:  # No file holds such a character.
        assert bool(leaks(one, other, tmp_path)) == same


def leaks(train: tuple[Message, ...], test: tuple[Message, ...], folder: Path) -> int:
    """How many rows the audit finds in the test split."""

    def source(name: str, prompt: tuple[Message, ...]) -> DataSource:
        row: dict[str, Any] = {
            "prompt": [message.as_dict() for message in prompt],
            "chosen": [{"role": "assistant", "content": "a"}],
            "rejected": [{"role": "assistant", "content": "b"}],
        }
        (folder / name).write_text(json.dumps(row), encoding="utf-8")
        return DataSource(str(folder / name))

    report = audit([source("train.jsonl", train)], test=[source("test.jsonl", test)]).report
    return next(f.count for f in report.findings if f.name == "prompts in the test split")


def test_a_message_says_its_reasoning_content_and_calls() -> None:
    message = Message("assistant", "four", tool_calls=({"name": "add"},), reasoning_content="2 + 2")
    assert message_text(message) == '2 + 2\nfour\n[{"name": "add"}]'
    assert message_text(Message("user", "")) == ""


def test_system_messages_are_not_what_is_asked() -> None:
    prompt = says("system: be kind", "user: a", "assistant: b")
    assert asked(prompt) == "a\nb"
    assert normalised(asked(says("system: Be  kind"))) == "be kind"
