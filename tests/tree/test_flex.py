"""Flex attention over trees: the mask by numbers of rows, its blocks, and what logits become.

Torch computes it on the CPU without compiling, from the same functions and blocks; it refuses
gradients there by a check in front, which is taken away here: what stands behind computes them.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn.attention import flex_attention as theirs
from tree_reference import (
    CPU,
    HEADS,
    SEEDS,
    SEQUENCES,
    TALK,
    Inputs,
    check,
    expected_of,
    layout_of,
    sees,
    written_out,
)

from assay.data.rendering import TokenIds
from assay.errors import ModelError
from assay.tree import flex
from assay.tree.known import History, without_known
from assay.tree.layout import Span, grow
from assay.tree.pack import Layout, Pack

WINDOWS = st.one_of(st.none(), st.integers(1, 9))


@pytest.fixture
def uncompiled(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Torch's flex attention as it is written, with gradients on the CPU."""
    monkeypatch.setattr(theirs, "_FLEX_ATTENTION_DISABLE_COMPILE_DEBUG", True)
    monkeypatch.setattr(theirs, "_validate_device", lambda *_: None)
    return


def by_flex(layout: Layout, scale: float, **how: Any) -> Callable[..., Tensor]:
    return lambda q, k, v, sink_H=None: flex.flex(
        q, k, v, layout, scale, sink_H=sink_H, attend=theirs.flex_attention, **how
    )


def seen(layout: Layout, num_keys: int, window: int | None = None) -> Tensor:
    """The mask that a layout's numbers make, filled rows included."""
    sight = flex.sight_of(layout, num_keys, window, CPU)
    query = torch.arange(len(sight.position_Q))[:, None]
    key = torch.arange(len(sight.first_N))[None]
    return flex.mask_mod(sight)(key, key, query, key)


# Who sees whom


@settings(deadline=None)
@given(SEQUENCES, WINDOWS, st.booleans())
def test_two_numbers_a_row_say_who_sees_it(
    sequences: list[TokenIds], window: int | None, share: bool
) -> None:
    layout = Pack.of(sequences, CPU, share=share).layout
    rows = layout.num_rows
    mask = seen(layout, rows, window)
    assert torch.equal(mask[:rows, :rows], layout.sees_TT(window))
    # Rows that fill up: queries see one key and no other, which no row of the tree sees.
    assert mask.shape == (flex.BLOCK, flex.BLOCK)
    assert mask[rows:].sum(1).tolist() == [1] * (flex.BLOCK - rows)
    assert not mask[:rows, rows:].any()


@pytest.mark.parametrize("rows", [127, 128, 129, 256, 257])
def test_rows_are_filled_up_to_whole_blocks(rows: int) -> None:
    mask = seen(layout_of([tuple(range(rows))]), rows)
    whole = -(-rows // 128) * 128
    assert mask.shape == (whole, whole)
    assert mask.any(1).all(), "a row that sees nothing has no finite log-sum-exp"
    assert torch.equal(mask[:rows, :rows], torch.ones(rows, rows).tril().bool())


def long_tree(seed: int) -> list[TokenIds]:
    """Some hundred rows: prompts with several answers, at several depths."""
    chance = random.Random(seed)

    def tokens(most: int) -> TokenIds:
        return tuple(chance.randrange(9) for _ in range(chance.randrange(1, most)))

    sequences = []
    for _ in range(3):
        prompt = tokens(200)
        sequences += [prompt + tokens(150) for _ in range(3)]
        sequences += [sequences[-1] + tokens(100) for _ in range(2)]
    return sequences


@pytest.mark.parametrize("window", [None, 1, 40, 130])
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("pairs_at_once", [1, 1 << 26])
def test_blocks_are_those_of_the_whole_mask(
    window: int | None, seed: int, pairs_at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(flex, "_PAIRS_AT_ONCE", pairs_at_once)
    layout = layout_of(long_tree(seed))
    rows = layout.num_rows
    assert rows > 3 * flex.BLOCK
    mask = flex.block_mask(layout, rows, window, CPU)
    queries, keys = mask.seq_lengths
    made = theirs.create_block_mask(mask.mask_mod, 1, 1, queries, keys, device="cpu")
    for ours, their in zip(mask.as_tuple(), made.as_tuple(), strict=True):
        assert (
            torch.equal(ours, their)
            if isinstance(ours, Tensor)
            else (callable(ours) or ours == their)
        )
    dense = theirs.create_mask(mask.mask_mod, 1, 1, queries, keys, device="cpu")
    assert torch.equal(dense[0, 0, :rows, :rows], layout.sees_TT(window))
    blocks = dense[0, 0].view(queries // 128, 128, keys // 128, 128).any(3).any(1)
    assert torch.equal(mask.to_dense()[0, 0].bool(), blocks)


def test_known_rows_are_seen_by_all_that_go_on_from_them() -> None:
    tree = grow(TALK)
    known = without_known(tree, (3, 4, 3, 3))
    layout = Pack.planted(known.tree, CPU, History(None, None)).layout
    moved = [
        tree.path_index(piece.sequence)[position]
        for piece in known.pieces
        for position in range(piece.start, piece.stop)
    ]
    own = [row for row in range(len(tree.ids)) if row not in moved]
    for window in (None, 2, 4):
        # One row more, which no path names: another family's.
        mask = seen(layout, len(own) + len(moved) + 1, window)[: len(own)]
        assert torch.equal(mask[:, : len(own + moved)], sees(TALK, window)[own][:, own + moved])
        assert not mask[:, len(own + moved) :].any()


def test_rows_that_do_not_stand_together_are_refused() -> None:
    layout = layout_of([(1, 2), (3, 4), (5, 6)])
    first, middle, last = layout.segments
    odd = last._replace(path=(Span(0, 2),))
    with pytest.raises(ModelError, match="do not stand together"):
        flex.sight_of(Layout((first, middle, odd), (), CPU), 6, None, CPU)


def test_a_mask_is_made_once_for_all_layers_and_serves_a_later_gradient() -> None:
    layout = layout_of(TALK)
    with torch.inference_mode():
        mask = flex.block_mask(layout, 10, None, CPU)
        near = flex.block_mask(layout, 10, 3, CPU)
    assert flex.block_mask(layout, 10, None, CPU) is mask
    assert flex.block_mask(layout, 10, 3, CPU) is near is not mask
    assert not mask.kv_indices.is_inference()
    assert not flex.sight_of(layout, 10, None, CPU).first_N.is_inference()


# Attention


@settings(
    deadline=None,
    max_examples=25,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@example(TALK, (4, 2), 0, 3, None, False)
@example(TALK, (4, 2), 0, None, 0.7, False)
@example(TALK, (4, 2), 0, None, None, True)
@example(TALK, (4, 2), 0, 2, 0.7, True)
@given(SEQUENCES, HEADS, SEEDS, WINDOWS, st.sampled_from([None, 0.7, 20.0]), st.booleans())
def test_flex_attention_is_the_tree(
    uncompiled: None,
    sequences: list[TokenIds],
    heads: tuple[int, int],
    seed: int,
    window: int | None,
    softcap: float | None,
    sinks: bool,
) -> None:
    layout, given, others, expected = expected_of(sequences, heads, seed, window, softcap, sinks)
    found = given.run(by_flex(layout, given.scale, window=window, softcap=softcap), *others)
    check(found, expected)


def test_more_than_one_block(uncompiled: None) -> None:
    sequences = long_tree(0)
    layout = layout_of(sequences)
    given = Inputs.of(layout.num_rows, (2, 1), 4)
    plain = written_out(sees(sequences, 50), given.scale)
    check(given.run(by_flex(layout, given.scale, window=50)), given.run(plain))


def test_the_usual_scale_needs_no_function_of_logits() -> None:
    q = torch.zeros(1, 2, 3, 16)
    assert flex._logits(q, 0.25, None) is None
    assert flex._logits(q, 0.3, None) is not None
    assert flex._logits(q, 0.25, 30.0) is not None


def test_functions_hold_tensors_only() -> None:
    # A number would become a symbol, which torch's kernel for GPUs does not take.
    layout = layout_of(TALK)
    functions: Sequence[Any] = (
        flex.mask_mod(flex.sight_of(layout, 10, None, CPU)),
        flex.mask_mod(flex.sight_of(layout, 10, 3, CPU)),
        flex._logits(torch.zeros(1, 2, 3, 16), 0.3, None),
        flex._logits(torch.zeros(1, 2, 3, 16), 0.3, 30.0),
    )
    for function in functions:
        assert all(isinstance(cell.cell_contents, Tensor) for cell in function.__closure__)


# On a GPU


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")
@pytest.mark.slow
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("kind", ["plain", "window", "softcap", "sinks"])
def test_the_compiled_kernel_rounds_no_more_than_one_segment_at_a_time(
    dtype: torch.dtype, kind: str
) -> None:
    from assay.tree.segments import by_segment

    device = torch.device("cuda")
    if not flex.is_available(device):
        pytest.skip("flex attention is not there")
    sequences = long_tree(0)
    layout = Pack.of(sequences, device).layout
    drawn = Inputs.of(layout.num_rows, (4, 2), 64)
    q, k, v = (t.detach().to(device, dtype).requires_grad_() for t in (drawn.q, drawn.k, drawn.v))
    given = Inputs(q, k, v, drawn.slope_THD.to(device, dtype), drawn.scale)
    wide = [t.detach().double().cpu().requires_grad_() for t in (q, k, v)]
    exact = Inputs(*wide, given.slope_THD.double().cpu(), given.scale)
    how: dict[str, Any] = {"window": {"window": 6}, "softcap": {"softcap": 0.7}}.get(kind, {})
    sink_H = torch.randn(4, device=device)
    others = (sink_H.requires_grad_(),) if kind == "sinks" else ()
    others_64 = tuple(sink.detach().double().cpu().requires_grad_() for sink in others)
    plain = written_out(sees(sequences, how.get("window")), given.scale, how.get("softcap"))
    right = exact.run(plain, *others_64)

    def through(way: Callable[..., Tensor]) -> list[Tensor]:
        return given.run(
            lambda q, k, v, sink_H=None: way(q, k, v, layout, given.scale, sink_H=sink_H, **how),
            *others,
        )

    for one, two, true in zip(through(flex.flex), through(by_segment), right, strict=True):
        error = float((one.double().cpu() - true).norm())
        assert error <= 2 * float((two.double().cpu() - true).norm()) + 1e-6 * float(true.norm())
