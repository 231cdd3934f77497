"""Remembered prompts: the rewards of computing anew, and what they cost.

Bars are norm-wise over the vector of rewards; the float64 twins of the families round to float32
inside (tests/model/test_rewards.py), hence 1e-6. Windows of the twins are shorter than any prompt.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
import torch
from families import small_config
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from assay.data.rendering import TokenIds
from assay.model.engine import ENGINES
from assay.model.prompt_keys import BLOCK, PromptKeys, why_not
from assay.model.reward_model import RewardModel
from assay.model.rewards import passes_of, rewards_of_sequences, scored_sequences
from assay.model.twin import WINDOW, twin_of
from assay.tree.known import History, Piece, without_known
from assay.tree.layout import Segment, Span, grow
from assay.tree.packing import tree_tokens
from tests.conftest import no_metadata

FAMILIES = ("llama", "qwen2", "mistral", "gemma2", "gemma3_text", "phi3", "gpt2", "gpt_oss")
SAME = 1e-6
VISIBLE = 1e-4
"""What a wrong row moves, at least."""
LARGE = 2**30
ROW_BYTES = 1024
"""Of the keys and values of a token of the twins."""
NO_READER: Any = None

draw = random.Random(1)


def tokens(count: int) -> TokenIds:
    return tuple(draw.randrange(1, 99) for _ in range(count))


SYSTEM = tokens(40)
PROMPTS = [SYSTEM + tokens(30), SYSTEM + tokens(9), tokens(50), tokens(20)]
GROUPS = [[prompt + tokens(count) for count in (3, 1, 7, 5)] for prompt in PROMPTS]
GROUPS[1].append(GROUPS[1][0] + tokens(40))  # A conversation that goes on.
GROUPS[2].append(PROMPTS[2])  # A sequence that is the beginning of others.


def model_of(family: str) -> RewardModel:
    model = RewardModel(twin_of(small_config(family)), NO_READER, no_metadata())
    model.use_engine("tree")
    return model


@pytest.fixture(scope="module")
def llama() -> RewardModel:
    return model_of("llama")


@torch.inference_mode()
def anew(model: RewardModel, sequences: Sequence[TokenIds]) -> Tensor:
    """One sequence a pass, nothing remembered."""
    return torch.cat([rewards_of_sequences(model, [ids], max_tokens=1000) for ids in sequences])


def remembering(
    model: RewardModel, prompts: PromptKeys, sequences: Sequence[TokenIds], budget: int = 1000
) -> Tensor:
    families = [0] * len(sequences)
    return scored_sequences(model, sequences, families=families, max_tokens=budget, prompts=prompts)


def apart(found: Tensor, expected: Tensor) -> float:
    return float((found - expected).norm() / expected.norm())


def check(prompts: PromptKeys) -> None:
    """All nodes hang together, and bytes are counted right."""
    nodes, waiting = [], list(prompts._root.children.values())
    while waiting:
        node = waiting.pop()
        nodes.append(node)
        assert node.rows_NF is not None
        assert len(node.ids) == len(node.rows_NF) > 0
        assert all(child.parent is node for child in node.children.values())
        assert all(child.ids[0] == first for first, child in node.children.items())
        waiting += node.children.values()
    assert set(nodes) == set(prompts._order)
    assert prompts.num_bytes == sum(node.num_bytes for node in nodes) <= prompts.max_bytes
    ages = {node: age for age, node in enumerate(prompts._order)}
    assert all(node.parent is prompts._root or ages[node.parent] > ages[node] for node in nodes)


# Rewards


@pytest.mark.parametrize("family", FAMILIES)
def test_rewards_of_remembered_prompts_are_those_of_new_ones(family: str) -> None:
    model = model_of(family)
    assert why_not(model) is None
    prompts = PromptKeys(LARGE)
    for group in GROUPS:
        expected = anew(model, group)
        assert apart(remembering(model, prompts, group[:2]), expected[:2]) < SAME
        assert apart(remembering(model, prompts, group), expected) < SAME
        # All groups in one pass, some known and some not.
        everyone = [ids for known in GROUPS for ids in known]
        assert apart(remembering(model, prompts, everyone), anew(model, everyone)) < SAME
        check(prompts)
    assert prompts.hits > len(everyone)
    assert max(map(len, everyone)) > WINDOW


def test_a_wrong_row_is_seen(llama: RewardModel) -> None:
    prompts = PromptKeys(LARGE)
    group = GROUPS[0]
    remembering(llama, prompts, group)
    for node in prompts._order:
        assert node.rows_NF is not None
        node.rows_NF = node.rows_NF + 0.5
    assert apart(remembering(llama, prompts, group), anew(llama, group)) > VISIBLE


TALK = st.lists(
    st.tuples(st.integers(0, 3), st.integers(0, 3), st.integers(1, 3)), min_size=1, max_size=5
)


@settings(max_examples=25, deadline=None)
@given(st.lists(TALK, min_size=1, max_size=6), st.sampled_from([LARGE, 60_000, 20_000, 0]))
def test_any_order_of_requests_and_any_limit(
    llama: RewardModel, rounds: list[Any], max_bytes: int
) -> None:
    parts = {(level, n): tokens_of(level, n) for level in range(3) for n in range(4)}
    prompts = PromptKeys(max_bytes)
    for wanted in rounds:
        sequences = [
            parts[0, a] + parts[1, b][: 40 if c > 1 else 9] + parts[2, b][: c - 1]
            for a, b, c in wanted
        ]
        found = remembering(llama, prompts, sequences, budget=150)
        assert apart(found, anew(llama, sequences)) < SAME
        check(prompts)


def tokens_of(level: int, number: int) -> TokenIds:
    own = random.Random(10 * level + number)
    return tuple(own.randrange(1, 99) for _ in range(45))


# What is computed


def test_a_prompt_is_kept_when_it_comes_again(llama: RewardModel) -> None:
    prompts = PromptKeys(LARGE)
    prompt = tokens(2 * BLOCK)
    for round_, known in ((1, 0), (2, 0), (3, 2 * BLOCK)):
        sequences = [prompt + tokens(3), tokens(50)]
        before = llama.computed.tokens
        assert prompts.known(sequences[0]) == known, round_
        remembering(llama, prompts, sequences)
        assert llama.computed.tokens - before == 2 * BLOCK + 3 + 50 - known
    assert (prompts.hits, prompts.tokens_saved) == (1, 2 * BLOCK)
    assert [len(node.ids) for node in prompts._order] == [2 * BLOCK]


def test_a_group_larger_than_a_pack_computes_its_prompt_once(llama: RewardModel) -> None:
    prompt = tokens(3 * BLOCK)
    group = [prompt + tokens(20) for _ in range(9)]
    budget = len(prompt) + 3 * 20 + BLOCK
    before = llama.computed.tokens, llama.computed.passes
    found = scored_sequences(llama, group, families=[0] * len(group), max_tokens=budget)
    computed = llama.computed.tokens - before[0]
    assert computed <= tree_tokens(group) + 2  # Answers of two packs may begin alike.
    assert llama.computed.passes - before[1] == 2
    assert apart(found, anew(llama, group)) < SAME
    with torch.enable_grad():
        packs = list(passes_of(llama, group, [0] * len(group), budget))
    assert len(packs) == 3  # Without what is remembered; gradients need all rows.


def test_what_was_used_last_stays(llama: RewardModel) -> None:
    first, second, third = (tokens(2 * BLOCK) for _ in range(3))
    prompts = PromptKeys(LARGE)

    def come(*together: TokenIds) -> None:
        remembering(llama, prompts, [ids + tokens(1) for ids in together])

    come(first, first)
    prompts.max_bytes = 2 * prompts.num_bytes
    come(second, second)
    come(first)
    come(third, third)
    assert prompts.known((*first, 1)) == prompts.known((*third, 1)) == 2 * BLOCK
    assert prompts.known((*second, 1)) == 0
    check(prompts)


@pytest.mark.parametrize("is_first", [True, False])
def test_what_a_pass_keeps_is_bounded_before_it_is_allocated(
    llama: RewardModel, monkeypatch: pytest.MonkeyPatch, is_first: bool
) -> None:
    allocated = [0]
    take = History._take

    def watched(self: History, *given: Any) -> None:
        take(self, *given)
        held = [*self._kept, *([] if self._kept_KF is None else [self._kept_KF])]
        allocated.append(sum(rows.nbytes for rows in held))

    monkeypatch.setattr(History, "_take", watched)
    large, small = tokens(200), tokens(BLOCK)
    prompts = PromptKeys(LARGE)
    if not is_first:  # Then it is known how wide rows are, and the small one is kept.
        remembering(llama, prompts, [tokens(9)])
    both = [ids + tokens(count) for ids in (large, small) for count in (2, 5)]
    prompts.max_bytes = 2 * BLOCK * ROW_BYTES
    for _ in range(2):
        assert apart(remembering(llama, prompts, both), anew(llama, both)) < SAME
        assert prompts.known(both[0]) == 0
    assert ROW_BYTES * BLOCK <= max(allocated) <= prompts.max_bytes
    assert prompts.known(both[-1]) == BLOCK
    check(prompts)


def test_the_bound_holds_where_a_beginning_is_cut_off(llama: RewardModel) -> None:
    prompts = PromptKeys(LARGE)
    prompt = tokens(3 * BLOCK)
    remembering(llama, prompts, [prompt + tokens(1), prompt + tokens(2)])
    prompts.max_bytes = prompts.num_bytes
    half = [prompt[:BLOCK] + tokens(9)]
    assert apart(remembering(llama, prompts, half), anew(llama, half)) < SAME
    assert prompts.hits == 1
    check(prompts)


def test_what_is_not_finite_is_neither_kept_nor_counted(
    llama: RewardModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    prompts = PromptKeys(LARGE)
    plain = llama.forward
    group = [SYSTEM + tokens(9), SYSTEM + tokens(7)]
    with monkeypatch.context() as broken:
        broken.setattr(llama, "forward", lambda batch: plain(batch) * torch.nan)
        with pytest.raises(Exception, match="not finite"):
            remembering(llama, prompts, group)
        assert prompts.num_bytes == 0
    remembering(llama, prompts, group)
    assert prompts.num_bytes > 0
    with monkeypatch.context() as broken:
        broken.setattr(llama, "forward", lambda batch: plain(batch) * torch.nan)
        with pytest.raises(Exception, match="not finite"):
            remembering(llama, prompts, group)
    assert (prompts.hits, prompts.tokens_saved) == (0, 0)


def test_a_pass_that_ran_out_of_memory_is_counted_as_what_stood_for_it(
    llama: RewardModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    prompts = PromptKeys(LARGE)
    prompt = tokens(2 * BLOCK)
    group = [prompt + tokens(count) for count in (3, 5)]
    remembering(llama, prompts, group)
    plain = llama.forward

    def narrow(batch: Any) -> Tensor:
        if len(batch.layout.scored_rows) > 1:
            raise RuntimeError("can't allocate memory")
        return plain(batch)

    monkeypatch.setattr(llama, "forward", narrow)
    assert apart(remembering(llama, prompts, group), anew(llama, group)) < SAME
    assert (prompts.hits, prompts.tokens_saved) == (2, 2 * len(prompt))


def test_only_the_tree_takes_known_rows(llama: RewardModel) -> None:
    prompts = PromptKeys(LARGE)
    llama.use_engine("packed")
    try:
        reason = why_not(llama)
        assert reason is not None
        assert "packed" in reason
        assert apart(remembering(llama, prompts, GROUPS[0]), anew(llama, GROUPS[0])) < SAME
    finally:
        llama.use_engine("tree")
    assert prompts.num_bytes == prompts.hits == 0
    assert llama.engine is ENGINES["tree"]


# The layout


def test_known_rows_stand_behind_the_others() -> None:
    # Rows: 1 2 3 4 5 | 6 | 9; known are 1 2 3 of the first, hence of the second, and 1 2 of all.
    tree = grow([(1, 2, 3, 4, 5), (1, 2, 3, 6), (1, 2, 9)])
    found = without_known(tree, [3, 3, 2])
    assert found.pieces == (Piece(0, 0, 3),)
    assert found.tree.ids == (4, 5, 6, 9)
    assert found.tree.positions == (3, 4, 3, 2)
    known = Span(4, 7)
    assert found.tree.segments == (
        Segment(Span(0, 2), (known,)),
        Segment(Span(2, 3), (known,)),
        Segment(Span(3, 4), (Span(4, 6),)),
    )
    assert found.tree.sequences[0] == (known, Span(0, 2))
    assert found.tree.scored_rows == (1, 2, 3)


@settings(deadline=None)
@given(
    st.lists(
        st.lists(st.integers(1, 3), min_size=2, max_size=8).map(tuple), min_size=1, max_size=8
    ),
    st.randoms(use_true_random=False),
)
def test_paths_read_what_they_read_before(sequences: list[TokenIds], choose: Any) -> None:
    longest = min(len(ids) for ids in sequences)
    depths = [choose.randrange(longest) for _ in sequences]
    tree = grow(sequences)
    found, pieces = without_known(tree, depths)
    tokens_known = [
        token for piece in pieces for token in sequences[piece.sequence][piece.start : piece.stop]
    ]
    ids = [*found.ids, *tokens_known]
    for index, sequence in enumerate(sequences):
        assert tuple(ids[row] for row in found.path_index(index)) == sequence
    assert len(ids) == len(tree.ids)
    for segment in found.segments:
        rows = range(*segment.rows)
        assert [found.positions[row] for row in rows] == [
            segment.depth + place for place in range(len(rows))
        ]
    assert [row for segment in found.segments for row in range(*segment.rows)] == [
        *range(len(found.ids))
    ]


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
