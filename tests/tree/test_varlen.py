"""One call of a variable-length kernel computes a tree: the contract, run on the CPU.

The kernel here is written after FlashAttention's documentation and put in the place of the real
ones, which need a GPU; where there is one, they are compared with it.
"""

from __future__ import annotations

import itertools
import sys
from collections.abc import Callable, Sequence
from importlib import metadata
from types import ModuleType
from typing import Any

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch import Tensor
from tree_reference import (
    HEADS,
    SEEDS,
    SEQUENCES,
    TALK,
    Inputs,
    check,
    layout_of,
    sees,
    written_out,
)

from assay.data.rendering import TokenIds
from assay.tree import segments, varlen
from assay.tree.known import History, without_known
from assay.tree.layout import grow
from assay.tree.pack import Layout, Pack

WINDOWS = st.one_of(st.none(), st.integers(1, 9))


def reference_kernel(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    query_bounds: Tensor,
    key_bounds: Tensor,
    most_queries: int,
    most_keys: int,
    *,
    scale: float,
    left: int,
    softcap: float | None,
) -> Tensor:
    """flash_attn_varlen_func with causal=True and window_size=(left, 0): query i of Q sees keys
    from i + K - Q - left up to i + K - Q, both inclusive; -1 on the left is no bound."""
    for tensor in (q, k, v):
        assert tensor.is_contiguous()
    for bounds in (query_bounds, key_bounds):
        assert bounds.dtype == torch.int32
        assert bounds.is_contiguous()
        assert not bounds.is_inference()
    assert [type(most) for most in (most_queries, most_keys)] == [int, int]
    ends = [bounds.tolist() for bounds in (query_bounds, key_bounds)]
    assert [most_queries, most_keys] == [
        max(b - a for a, b in itertools.pairwise(end)) for end in ends
    ]
    assert (len(q), len(k)) == (ends[0][-1], ends[1][-1])
    group, outputs = q.shape[1] // k.shape[1], []
    for number in range(len(ends[0]) - 1):
        q_QHD = q[slice(*ends[0][number : number + 2])]
        k_LHD, v_LHD = (
            tensor[slice(*ends[1][number : number + 2])].repeat_interleave(group, dim=1)
            for tensor in (k, v)
        )
        logits = torch.einsum("qhd,lhd->hql", q_QHD, k_LHD) * scale
        if softcap is not None:
            logits = softcap * torch.tanh(logits / softcap)
        last_Q1 = torch.arange(len(q_QHD))[:, None] + len(k_LHD) - len(q_QHD)
        key_L = torch.arange(len(k_LHD))
        hidden = key_L > last_Q1
        if left >= 0:
            hidden |= key_L < last_Q1 - left
        share = logits.masked_fill(hidden, -torch.inf).softmax(-1)
        outputs.append(torch.einsum("hql,lhd->qhd", share, v_LHD))
    return torch.cat(outputs)


def by(
    kernel: varlen.Kernel, layout: Layout, scale: float, **how: Any
) -> Callable[[Tensor, Tensor, Tensor], Tensor]:
    return lambda q, k, v: varlen.varlen(q, k, v, layout, scale, kernel=kernel, **how)


@settings(deadline=None)
@example(TALK, (4, 2), 0, 3, None)
@example(TALK, (4, 2), 0, 1, None)
@given(SEQUENCES, HEADS, SEEDS, WINDOWS, st.sampled_from([None, 0.7]))
def test_one_call_is_the_tree(
    sequences: list[TokenIds],
    heads: tuple[int, int],
    seed: int,
    window: int | None,
    softcap: float | None,
) -> None:
    layout = layout_of(sequences)
    given = Inputs.of(layout.num_rows, heads, seed=seed)
    how = {"window": window, "softcap": softcap}
    found = given.run(by(reference_kernel, layout, given.scale, **how))
    check(found, given.run(written_out(sees(sequences, window), given.scale, softcap)))
    dense = given.run(lambda q, k, v: segments.dense(q, k, v, layout, given.scale, **how))
    check(found, dense)


def test_bounds_by_hand() -> None:
    # Rows: 1 2 3 4 5 6 7 | 8 | 9 9; 8 sees rows 0 to 3, the nines see 0 to 2.
    layout = layout_of(TALK)
    assert layout.query_bounds.tolist() == [0, 7, 8, 10]
    assert layout.key_bounds.tolist() == [0, 7, 12, 17]
    assert (layout.most_queries, layout.longest) == (7, 7)


def test_what_is_made_while_scoring_serves_a_later_gradient() -> None:
    # Tensors that are made under inference mode cannot be saved for a backward pass.
    layout = layout_of(TALK)
    given = Inputs.of(layout.num_rows)
    way = by(reference_kernel, layout, given.scale, window=3)
    with torch.inference_mode():
        way(given.q.detach(), given.k.detach(), given.v.detach())
        segments.by_segment(
            *(t.detach() for t in (given.q, given.k, given.v)), layout, given.scale, window=3
        )
    made = layout.query_bounds, layout.key_bounds, layout.key_rows_K
    expected = given.run(written_out(sees(TALK, 3), given.scale))
    check(given.run(way), expected)
    check(
        given.run(lambda q, k, v: segments.by_segment(q, k, v, layout, given.scale, window=3)),
        expected,
    )
    assert all(
        tensor is again
        for tensor, again in zip(
            made, (layout.query_bounds, layout.key_bounds, layout.key_rows_K), strict=True
        )
    ), "made once"


def test_rows_that_are_known_from_before_stand_behind() -> None:
    # The first three tokens of all, and the fourth of the second, were computed earlier.
    tree = grow(TALK)
    whole = Pack.planted(tree, torch.device("cpu"))
    known = without_known(tree, (3, 4, 3, 3))
    given = Inputs.of(whole.num_tokens)
    expected = written_out(sees(TALK, 4), given.scale)(given.q, given.k, given.v)
    moved = [
        tree.path_index(piece.sequence)[position]
        for piece in known.pieces
        for position in range(piece.start, piece.stop)
    ]
    own = [row for row in range(whole.num_tokens) if row not in moved]
    layout = Pack.planted(known.tree, torch.device("cpu"), History(None, None)).layout
    q, k, v = given.q[:, :, own], given.k[:, :, own + moved], given.v[:, :, own + moved]
    found = varlen.varlen(q, k, v, layout, given.scale, kernel=reference_kernel, window=4)
    check([found.detach()], [expected[:, own].detach()])


# The gathered keys


def test_the_gradient_of_gathered_rows_is_that_of_differences() -> None:
    x_TGD = torch.randn(5, 2, 3, dtype=torch.float64, requires_grad=True)
    row_K = torch.tensor([0, 1, 0, 4, 0, 2])
    assert torch.autograd.gradcheck(lambda x: varlen.gather(x, row_K), (x_TGD,))
    assert torch.equal(varlen.gather(x_TGD, row_K), x_TGD[row_K])


@pytest.mark.parametrize("rows_at_once", [7, 1 << 14])
def test_gradients_of_shared_rows_are_rounded_once(
    rows_at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    # 1 and then 256 times 1/256: in bfloat16 each further part is lost, in float32 none is.
    monkeypatch.setattr(varlen, "_ROWS_AT_ONCE", rows_at_once)
    x_TGD = torch.zeros(3, 1, 1, dtype=torch.bfloat16, requires_grad=True)
    row_K = torch.tensor([1] * 257)
    grad = torch.full((257, 1, 1), 1 / 256, dtype=torch.bfloat16)
    grad[0] = 1
    varlen.gather(x_TGD, row_K).backward(grad)
    assert x_TGD.grad is not None
    assert x_TGD.grad.dtype == torch.bfloat16
    assert x_TGD.grad[:, 0, 0].tolist() == [0, 2, 0]
    plain = torch.zeros(3, 1, 1, dtype=torch.bfloat16)
    for part in grad:
        plain[1] += part
    assert plain[1].item() == 1


def test_only_what_needs_a_gradient_gets_one() -> None:
    # With adapters on the queries alone, keys and values are constants.
    layout = layout_of(TALK)
    given = Inputs.of(layout.num_rows)
    way = by(reference_kernel, layout, given.scale)
    output = way(given.q, given.k.detach(), given.v.detach())
    found = torch.autograd.grad(output, given.q, given.slope_THD)
    check(found, given.run(written_out(sees(TALK), given.scale))[1:2])


# What the real kernels are called with


def test_torch_is_called_as_documented(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch.nn.attention.varlen as theirs

    calls: list[dict[str, Any]] = []

    def varlen_attn(
        query: Tensor,
        key: Tensor,
        value: Tensor,
        cu_seq_q: Tensor,
        cu_seq_k: Tensor,
        max_q: int,
        max_k: int,
        *,
        scale: float,
        window_size: tuple[int, int],
        enable_gqa: bool,
    ) -> Tensor:
        calls.append({"window_size": window_size, "enable_gqa": enable_gqa})
        left = window_size[0]
        lengths = max_q, max_k
        return reference_kernel(
            query, key, value, cu_seq_q, cu_seq_k, *lengths, scale=scale, left=left, softcap=None
        )

    known = set(theirs.varlen_attn.__kwdefaults__)
    assert {"scale", "window_size", "enable_gqa"} <= known
    monkeypatch.setattr(theirs, "varlen_attn", varlen_attn)
    layout = layout_of(TALK)
    for heads, window, expected in (
        # Torch reads (-1, 0), the tuple, as causal without a window.
        ((4, 2), None, {"window_size": (-1, 0), "enable_gqa": True}),
        ((2, 2), 3, {"window_size": (2, 0), "enable_gqa": False}),
        ((2, 2), 1, {"window_size": (0, 0), "enable_gqa": False}),
    ):
        given = Inputs.of(layout.num_rows, heads)
        found = given.run(by(varlen.torch_kernel, layout, given.scale, window=window))
        check(found, given.run(written_out(sees(TALK, window), given.scale)))
        assert calls.pop() == expected


@pytest.fixture
def flash_attn(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """A package of that name, with the kernel of this file; gives its calls."""
    calls: list[dict[str, Any]] = []

    def flash_attn_varlen_func(*given: Any, softmax_scale: float, **named: Any) -> Tensor:
        calls.append(named)
        left, cap = named["window_size"][0], named["softcap"]
        # A softcap of 0 is none.
        return reference_kernel(*given, scale=softmax_scale, left=left, softcap=cap or None)

    package = ModuleType("flash_attn")
    vars(package)["flash_attn_varlen_func"] = flash_attn_varlen_func
    monkeypatch.setitem(sys.modules, "flash_attn", package)
    return calls


def test_flash_attn_is_called_as_documented(flash_attn: list[dict[str, Any]]) -> None:
    layout = layout_of(TALK)
    given = Inputs.of(layout.num_rows)
    for how, bounds, cap in (
        ({}, (-1, 0), 0.0),
        ({"window": 3}, (2, 0), 0.0),
        ({"softcap": 0.7}, (-1, 0), 0.7),
    ):
        found = given.run(by(varlen.flash_kernel, layout, given.scale, **how))
        plain = written_out(sees(TALK, how.get("window")), given.scale, how.get("softcap"))
        check(found, given.run(plain))
        always = {"dropout_p": 0.0, "causal": True, "deterministic": False}
        assert flash_attn.pop() == always | {"window_size": bounds, "softcap": cap}


def test_flash_attn_is_deterministic_where_all_is(flash_attn: list[dict[str, Any]]) -> None:
    layout = layout_of(TALK)
    given = Inputs.of(layout.num_rows)
    torch.use_deterministic_algorithms(True)
    try:
        given.run(by(varlen.flash_kernel, layout, given.scale))
    finally:
        torch.use_deterministic_algorithms(False)
    assert flash_attn.pop()["deterministic"] is True


@pytest.mark.parametrize(
    ("version", "capability", "expected"),
    [
        ("2.8.3", (9, 0), True),
        ("2.6.0.post1", (8, 0), True),
        ("3.0.0b1", (9, 0), True),
        ("2.5.9", (9, 0), False),  # No softcap.
        ("2.8.3", (7, 5), False),
        (None, (9, 0), False),
    ],
)
def test_what_flash_attn_must_be(
    version: str | None,
    capability: tuple[int, int],
    expected: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(varlen, "find_spec", lambda name: version and object())
    monkeypatch.setattr(varlen.metadata, "version", lambda name: version)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    assert varlen.has_flash_kernel(torch.device("cuda")) is expected


def test_a_module_of_another_package_is_not_flash_attn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Such as flash-attn-4, which puts parts into a module of the same name."""

    def nobody(name: str) -> str:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(varlen, "find_spec", lambda name: object())
    monkeypatch.setattr(varlen.metadata, "version", nobody)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (9, 0))
    assert not varlen.has_flash_kernel(torch.device("cuda"))


# On a GPU

gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")


def on_gpu(given: Inputs, dtype: torch.dtype) -> Inputs:
    """The same numbers there, rounded."""
    q, k, v = (
        tensor.detach().to("cuda", dtype).requires_grad_() for tensor in (given.q, given.k, given.v)
    )
    return Inputs(q, k, v, given.slope_THD.to("cuda", dtype), given.scale)


def rounded(given: Inputs) -> Inputs:
    """The same rounded numbers in float64 on the CPU."""
    q, k, v = (
        tensor.detach().double().cpu().requires_grad_() for tensor in (given.q, given.k, given.v)
    )
    return Inputs(q, k, v, given.slope_THD.double().cpu(), given.scale)


def long_tree() -> Sequence[TokenIds]:
    """Segments of one row, and of several of the tiles that kernels cut them into."""
    prompt = tuple(range(1000, 1301))
    return [
        (*prompt, 1),
        (*prompt, 2, *range(150)),
        (*prompt, *range(260)),
        (*prompt[:70], *range(90)),
        tuple(range(33)),
    ]


@gpu
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("name", ["varlen", "flash-attn"])
@pytest.mark.parametrize("window", [None, 1, 6, 100])
@pytest.mark.parametrize("width", [64, 128, 256])
def test_the_real_kernel_rounds_no_more_than_one_segment_at_a_time(
    dtype: torch.dtype, name: str, window: int | None, width: int
) -> None:
    device = torch.device("cuda")
    there = varlen.has_torch_kernel if name == "varlen" else varlen.has_flash_kernel
    if not there(device):
        pytest.skip(f"{name} is not there")
    sequences = long_tree()
    layout = Pack.of(sequences, device).layout
    given = on_gpu(Inputs.of(layout.num_rows, (4, 2), width), dtype)
    exact = rounded(given).run(written_out(sees(sequences, window), given.scale))
    kernel = varlen.torch_kernel if name == "varlen" else varlen.flash_kernel
    found = given.run(by(kernel, layout, given.scale, window=window))
    other = given.run(
        lambda q, k, v: segments.by_segment(q, k, v, layout, given.scale, window=window)
    )
    for one, two, right in zip(found, other, exact, strict=True):
        assert one.dtype == dtype
        error = float((one.double().cpu() - right).norm())
        assert error <= 2 * float((two.double().cpu() - right).norm()) + 1e-6 * float(right.norm())
