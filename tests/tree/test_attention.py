"""Attention over trees: the layout's blocks, and every way of computing it against a plain one."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from tree_reference import (
    HEADS,
    ROUNDING,
    SEEDS,
    SEQUENCES,
    TALK,
    WIDTHS,
    Inputs,
    check,
    expected_of,
    layout_of,
    sees,
    written_out,
)

from assay.data.rendering import TokenIds
from assay.errors import ModelError
from assay.tree import attention, cascade, segments
from assay.tree.attention import NAME, register, tree_attention
from assay.tree.layout import Span
from assay.tree.pack import Block, Layout

# The layout


@settings(deadline=None)
@given(SEQUENCES)
def test_blocks_hold_each_pair_of_rows_once(sequences: list[TokenIds]) -> None:
    layout = layout_of(sequences)
    count_TT = torch.zeros(layout.num_rows, layout.num_rows, dtype=torch.long)
    squares_T = torch.zeros(layout.num_rows, dtype=torch.long)
    for block in layout.blocks:
        queries, keys = slice(*block.queries), slice(*block.keys)
        if block.is_causal:
            assert block.queries == block.keys
            squares_T[queries] += 1
            count_TT[queries, keys] += torch.ones_like(count_TT[queries, keys]).tril()
        else:
            count_TT[queries, keys] += 1
    assert torch.equal(count_TT, sees(sequences).long())
    assert squares_T.tolist() == [1] * layout.num_rows
    # The merge begins with the squares, and the backward pass overwrites with them.
    kinds = [block.is_causal for block in layout.blocks]
    assert kinds == sorted(kinds, reverse=True)
    # All that see a span stand together: it meets them in one rectangle.
    spans = [block.keys for block in layout.blocks if not block.is_causal]
    assert len(spans) == len(set(spans))


def test_a_prompt_meets_all_its_responses_in_one_rectangle() -> None:
    layout = layout_of([(1, 2, 10 + i, 5, 5)[: 3 + i % 3] for i in range(9)])
    rectangles = [block for block in layout.blocks if not block.is_causal]
    # The first response stands in one segment with the prompt, the others are rows 3 to 20.
    assert rectangles == [Block(Span(3, 20), Span(0, 2))]
    assert len(layout.blocks) == 9 + 1


def test_the_layout_by_hand() -> None:
    # Rows: 1 2 3 4 5 6 7 | 8 | 9 9; 8 sees rows 0 to 3, the nines see 0 to 2.
    layout = layout_of(TALK)
    squares = [Span(0, 7), Span(7, 8), Span(8, 10)]
    assert layout.blocks == (
        *(Block(span, span) for span in squares),
        Block(Span(7, 8), Span(0, 4)),
        Block(Span(8, 10), Span(0, 3)),
    )
    assert layout.num_rows == 10
    assert layout.longest == 7
    assert layout.key_rows_K.tolist() == [*range(7), *(0, 1, 2, 3, 7), *(0, 1, 2, 8, 9)]
    assert layout.key_offsets == (0, 7, 12, 17)


@settings(deadline=None)
@given(SEQUENCES, st.integers(1, 9))
def test_the_mask_says_what_the_sequences_say(sequences: list[TokenIds], window: int) -> None:
    layout = layout_of(sequences)
    assert torch.equal(layout.sees_TT(), sees(sequences))
    assert torch.equal(layout.sees_TT(window), sees(sequences, window))
    assert layout.longest == max(map(len, sequences))


# Attention, in float64


def by_blocks(layout: Layout, scale: float) -> Callable[..., Tensor]:
    return lambda q, k, v: cascade.cascade(q, k, v, layout.blocks, scale)


@settings(deadline=None)
@given(SEQUENCES, HEADS, WIDTHS, SEEDS)
def test_cascade_segments_and_mask_agree(
    sequences: list[TokenIds], heads: tuple[int, int], width: int, seed: int
) -> None:
    layout = layout_of(sequences)
    given = Inputs.of(layout.num_rows, heads, width, seed)
    expected = given.run(written_out(sees(sequences), given.scale))
    check(given.run(by_blocks(layout, given.scale)), expected)
    for way in (segments.by_segment, segments.dense):
        check(given.run(lambda q, k, v, way=way: way(q, k, v, layout, given.scale)), expected)


@settings(deadline=None)
@example(TALK, (4, 2), 0, 3, None, False)
@example(TALK, (4, 2), 0, None, 0.7, False)
@example(TALK, (4, 2), 0, None, None, True)
@given(
    SEQUENCES,
    HEADS,
    SEEDS,
    st.one_of(st.none(), st.integers(1, 9)),
    st.sampled_from([None, 0.7, 20.0]),
    st.booleans(),
)
def test_windows_softcaps_and_sinks(
    sequences: list[TokenIds],
    heads: tuple[int, int],
    seed: int,
    window: int | None,
    softcap: float | None,
    sinks: bool,
) -> None:
    # Windows of 1 to 9 positions, paths of 1 to 8: shorter than prompt and response, and longer.
    layout, given, others, expected = expected_of(sequences, heads, seed, window, softcap, sinks)

    def through(way: Callable[..., Tensor]) -> Callable[..., Tensor]:
        return lambda q, k, v, sink_H=None: way(
            q, k, v, layout, given.scale, window=window, softcap=softcap, sink_H=sink_H
        )

    def as_layers_call(q: Tensor, k: Tensor, v: Tensor, sink_H: Tensor | None = None) -> Tensor:
        output, weights = called(
            (q, k, v),
            tree=layout,
            scaling=given.scale,
            sliding_window=window,
            softcap=softcap,
            s_aux=sink_H,
        )
        assert weights is None
        return output

    for way in (through(segments.by_segment), through(segments.dense), as_layers_call):
        check(given.run(way, *others), expected)


def called(qkv: tuple[Tensor, Tensor, Tensor], **how: Any) -> tuple[Tensor, None]:
    """Attention as transformers calls it."""
    return tree_attention(nn.Module(), *qkv, how.pop("attention_mask", None), **how)


def test_long_segments() -> None:
    # Torch's kernel cuts queries and keys into blocks of up to 512: more than one of each here.
    chance = random.Random(0)
    prompt = tuple(chance.randrange(100) for _ in range(700))
    sequences = [(*prompt, 200 + i, *(chance.randrange(100) for _ in range(300))) for i in range(2)]
    layout = layout_of(sequences)
    given = Inputs.of(layout.num_rows, (2, 1), 4)
    check(
        given.run(by_blocks(layout, given.scale)),
        given.run(written_out(sees(sequences), given.scale)),
    )


def test_memory_may_lie_in_any_order() -> None:
    # Some layers give contiguous heads; a sum sends back one number for all rows, of stride 0.
    layout = layout_of(TALK)
    given = Inputs.of(layout.num_rows, (4, 2), 3)
    packed = [t.detach().contiguous().requires_grad_() for t in (given.q, given.k, given.v)]
    plain = written_out(sees(TALK), given.scale)
    expected = torch.autograd.grad(plain(given.q, given.k, given.v).sum(), (given.q, given.v))
    output = by_blocks(layout, given.scale)(*packed)
    check(torch.autograd.grad(output.sum(), (packed[0], packed[2])), expected)


def test_the_gradient_is_that_of_differences() -> None:
    layout = layout_of(TALK)
    given = Inputs.of(layout.num_rows, (2, 1), 2)
    way = by_blocks(layout, given.scale)
    assert torch.autograd.gradcheck(way, (given.q, given.k, given.v))


def test_only_what_needs_a_gradient_gets_one() -> None:
    # With adapters on the queries alone, keys and values are constants.
    layout = layout_of(TALK)
    given = Inputs.of(layout.num_rows)
    k, v = given.k.detach(), given.v.detach()
    output = by_blocks(layout, given.scale)(given.q, k, v)
    found = torch.autograd.grad(output, given.q, given.slope_THD)
    check(found, given.run(written_out(sees(TALK), given.scale))[1:2])


def merged_by_autograd(layout: Layout, scale: float) -> Callable[..., Tensor]:
    """The cascade without its own backward pass: autograd sees kernels and merge."""

    def way(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        kernel = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
        out: dict[Span, Tensor] = {}
        lse: dict[Span, Tensor] = {}
        for block in layout.blocks:
            mine, theirs = slice(*block.queries), slice(*block.keys)
            part, part_lse = kernel(
                q[:, :, mine], k[:, :, theirs], v[:, :, theirs], 0.0, block.is_causal, scale=scale
            )
            if block.is_causal:
                out[block.queries], lse[block.queries] = part, part_lse
            else:
                so_far = lse[block.queries]  # In this layout each rectangle is one segment's.
                share = torch.sigmoid(part_lse - so_far)[..., None]
                out[block.queries] = out[block.queries].lerp(part, share)
                lse[block.queries] = torch.logaddexp(so_far, part_lse)
        return torch.cat([out[segment.rows] for segment in layout.segments], dim=2).transpose(1, 2)

    return way


def test_a_merge_that_is_left_to_autograd_is_silently_wrong() -> None:
    # Why there is an autograd.Function: the kernel's log-sum-exp has no gradient, so that the
    # shares of the parts count as constants. Outputs and the gradient of the values are right.
    layout = layout_of(TALK)
    given = Inputs.of(layout.num_rows)
    expected = given.run(written_out(sees(TALK), given.scale))
    naive = given.run(merged_by_autograd(layout, given.scale))
    errors = [float((a - b).norm() / b.norm()) for a, b in zip(naive, expected, strict=True)]
    assert errors[0] < ROUNDING
    assert errors[3] < ROUNDING
    assert min(errors[1:3]) > 0.05
    check(given.run(by_blocks(layout, given.scale)), expected)


# Narrower numbers


COMB: list[TokenIds] = [(1, *[2] * i, 1) for i in range(40)]
"""Each branches off from the one before: the last has a path of 40 spans."""
TRUNK: list[TokenIds] = [(*range(40 - i), 100 + i, 200, 200) for i in range(40)]
"""Of the first, 39 spans are seen: the gradient of its rows is a sum of up to 40 parts."""


@pytest.mark.parametrize("sequences", [COMB, TRUNK], ids=["comb", "trunk"])
def test_bfloat16_is_rounded_once(sequences: list[TokenIds]) -> None:
    # Against float32 on the same, rounded numbers. A rounding is at most 2^-9, norm-wise somewhat
    # less: one call of torch's kernel with a mask over all of it is off by 0.9 * 2^-9, its
    # gradients by 1.5 to 2.5 times 2^-9. Merged in bfloat16, 40 spans give an output off by
    # 2.6 * 2^-9. Each gradient is added up from its parts in bfloat16: twice the kernel's error.
    layout = layout_of(sequences)
    narrow = Inputs.of(layout.num_rows, (4, 2), 16, dtype=torch.bfloat16)
    q, k, v = (t.detach().float().requires_grad_() for t in (narrow.q, narrow.k, narrow.v))
    wide = Inputs(q, k, v, narrow.slope_THD.float(), narrow.scale)
    found = narrow.run(by_blocks(layout, narrow.scale))
    expected = wide.run(by_blocks(layout, wide.scale))
    assert all(one.dtype == torch.bfloat16 for one in found)
    for one, other, roundings in zip(found, expected, (1.5, 5, 5, 5), strict=True):
        assert float((one.float() - other).norm()) < roundings * 2**-9 * float(other.norm())


# As transformers calls it


@pytest.fixture
def ways(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, Any]]:
    """Which way was taken, with its window."""
    taken: list[tuple[str, Any]] = []
    by_segment, blocks = segments.by_segment, cascade.cascade

    def one(*arguments: Any, **how: Any) -> Tensor:
        taken.append(("segments", how["window"]))
        return by_segment(*arguments, **how)

    def other(*arguments: Any) -> Tensor:
        taken.append(("cascade", None))
        return blocks(*arguments)

    monkeypatch.setattr(attention, "by_segment", one)
    monkeypatch.setattr(cascade, "cascade", other)
    return taken


def test_without_a_layout_with_a_mask_or_with_dropout_it_raises() -> None:
    layout = layout_of(TALK)
    given = Inputs.of(layout.num_rows)
    qkv = (given.q, given.k, given.v)
    with pytest.raises(ModelError, match="computes packs of Assay only"):
        called(qkv)
    mask = torch.zeros(1, 1, layout.num_rows, layout.num_rows)
    with pytest.raises(ModelError, match="computes packs of Assay only"):
        called(qkv, attention_mask=mask, tree=layout)
    with pytest.raises(ModelError, match="attention dropout"):
        called(qkv, tree=layout, dropout=0.1)
    output, _ = called(qkv, tree=layout, dropout=0.0, is_causal=True, anything="else")
    assert output.shape == given.slope_THD.shape


def test_transformers_builds_no_mask_for_it() -> None:
    from transformers import LlamaConfig, LlamaForCausalLM
    from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS

    register()
    assert NAME not in ALL_MASK_ATTENTION_FUNCTIONS
    config = LlamaConfig(
        vocab_size=8, hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=2
    )
    model = LlamaForCausalLM(config)
    model.set_attn_implementation(NAME)
    with pytest.raises(ModelError, match="silently wrong"):
        model(input_ids=torch.tensor([[1, 2, 3]]))


def test_logits_are_scaled_by_the_width_unless_told_otherwise() -> None:
    layout = layout_of(TALK)
    given = Inputs.of(layout.num_rows, (4, 2), 16)
    for scaling, scale in ((None, 0.25), (0.5, 0.5)):
        expected = given.run(written_out(sees(TALK), scale))
        output, _ = called((given.q, given.k, given.v), tree=layout, scaling=scaling)
        check([output.detach()], expected[:1])


def test_values_of_another_width_go_by_segment(ways: list[tuple[str, Any]]) -> None:
    # Projected from latents they may be narrower than keys, which the CPU's kernel does not take.
    layout = layout_of(TALK)
    given = Inputs.of(layout.num_rows, (4, 2), 6)
    narrow = Inputs(given.q, given.k, given.v[..., :4], given.slope_THD[..., :4], given.scale)
    found = narrow.run(lambda q, k, v: called((q, k, v), tree=layout, scaling=narrow.scale)[0])
    assert ways == [("segments", None)]
    check(found, narrow.run(written_out(sees(TALK), narrow.scale)))


def test_queries_and_keys_are_as_narrow_as_values() -> None:
    layout = layout_of(TALK)
    given = Inputs.of(layout.num_rows)
    output, _ = called((given.q, given.k, given.v.to(torch.bfloat16)), tree=layout)
    assert output.dtype == torch.bfloat16


def test_a_window_that_nothing_is_outside_of_is_none(ways: list[tuple[str, Any]]) -> None:
    # The longest path has 7 tokens: its last token sees all of them in a window of 7, not of 6.
    # The pack has 10 rows, which must not count.
    layout = layout_of(TALK)
    given = Inputs.of(layout.num_rows)
    for window, way in ((6, ("segments", 6)), (7, ("cascade", None)), (10, ("cascade", None))):
        ways.clear()
        how = {"tree": layout, "scaling": given.scale, "sliding_window": window}
        found = given.run(lambda q, k, v, how=how: called((q, k, v), **how)[0])
        assert ways == [way]
        check(found, given.run(written_out(sees(TALK, window), given.scale)))
    # Nor where something else keeps it from the cascade.
    called((given.q, given.k, given.v), tree=layout, sliding_window=7, softcap=5.0)
    assert ways[-1] == ("segments", None)


def test_without_its_kernels_the_cascade_is_left_out(
    ways: list[tuple[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    layout = layout_of(TALK)
    given = Inputs.of(layout.num_rows)

    def way(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return called((q, k, v), tree=layout, scaling=given.scale)[0]

    assert cascade.is_available()
    with_kernels = given.run(way)
    monkeypatch.setattr(cascade, "is_available", lambda: False)
    check(given.run(way), with_kernels)
    assert [name for name, _ in ways] == ["cascade", "segments"]
