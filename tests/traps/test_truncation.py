"""What is cut is cut from the beginning, from both sides of a pair alike (T16, T19)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from assay.data.encoding import encode_groups
from assay.data.formats import VerbatimText
from assay.data.records import Comparison, Group, Message, Response, Source
from assay.data.rendering import Renderer, TokenIds
from assay.data.templates import ResolvedTemplate
from assay.model.loading import load_reward_model
from assay.model.rewards import score_sequences
from assay.score.scorer import score_items

pytestmark = pytest.mark.slow

TEMPLATE = (
    "{% for message in messages %}{{ message.role[0] }}{{ message.content }}{% endfor %}"
    "{{ '' if add_generation_prompt else eos_token }}"
)
DIGITS = st.text("123456789", min_size=1, max_size=12)
"""No two of them are one token of the tiny tokenizer, nor is one with a letter."""


def encoded(
    tokenizer: Any, turns: list[str], answers: list[str], limit: int, how: Any
) -> tuple[TokenIds, ...]:
    roles = ("user", "assistant")
    group = Group(
        id="1",
        source=Source("rows.jsonl", 1),
        prompt=tuple(Message(roles[at % 2], text) for at, text in enumerate(turns)),
        responses=tuple(Response((Message("assistant", text),)) for text in answers),
        comparisons=(Comparison(0, 1, "a", row=Source("rows.jsonl", 1)),),
    )
    renderer = Renderer(tokenizer, ResolvedTemplate("test", TEMPLATE))
    data = encode_groups([group], renderer, max_length=limit, over_length=how)
    return data.groups[0].sequences if data.groups else ()


@pytest.mark.parametrize("how", ["drop", "drop_oldest_turns", "truncate_prompt_left"])
@settings(max_examples=60, deadline=None)
@given(
    turns=st.lists(DIGITS, min_size=1, max_size=5).filter(lambda turns: len(turns) % 2 == 1),
    answers=st.lists(DIGITS, min_size=2, max_size=2, unique=True),
    limit=st.integers(6, 40),
)
def test_chosen_and_rejected_lose_the_same(
    how: str, turns: list[str], answers: list[str], limit: int, tiny_tokenizer: Any
) -> None:
    """Whichever is the chosen one: both keep their whole answer, behind one and the same prompt."""
    found = encoded(tiny_tokenizer, turns, answers, limit, how)
    swapped = encoded(tiny_tokenizer, turns, answers[::-1], limit, how)
    assert swapped == found[::-1]
    assume(found)
    read = [tiny_tokenizer.decode(ids) for ids in found]
    ends = [f"a{answer}<|im_end|>" for answer in answers]
    assert all(text.endswith(end) for text, end in zip(read, ends, strict=True))
    prompts = {text.removesuffix(end) for text, end in zip(read, ends, strict=True)}
    assert len(prompts) == 1
    assert max(map(len, found)) <= limit


@pytest.mark.parametrize("begin", ["", "<|im_start|>"])
def test_a_text_that_is_too_long_loses_its_beginning(begin: str, tiny_reward: Path) -> None:
    """With a begin token, which stays, and without."""
    model = load_reward_model(str(tiny_reward))
    text = f"{begin}{'0123456789' * 5} the end"
    ids = model.renderer.render_text(text).ids
    kept = ids[-20:] if not begin else (ids[0], *ids[-19:])
    [found] = score_items(model, [VerbatimText(text, Source("f", 1))], max_length=20)
    assert (found.num_tokens, found.truncated) == ([20], [True])
    assert found.scores == score_sequences(model, [kept])
    assert found.scores != score_sequences(model, [ids[:20]])
