"""Tree attention on GPUs: all segments of a pack in one call of a variable-length kernel.

Queries stay where they are, a segment after the other. For each segment the keys of its path and
its own are gathered, so that its queries are the last of its keys: a kernel whose causality is
aligned to the bottom right (FlashAttention from 2.1 on, and torch's) then computes the tree without
a mask, and a window counts tree positions. The idea is flash-preference's (li-plus, 2025).

Shapes: T rows, K gathered keys, N segments, H query heads, G key heads, D width of a head.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import metadata
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor

from assay.tree.pack import Layout

Kernel = Callable[..., Tensor]
"""Takes q [T, H, D], k and v [K, G, D], all contiguous; the bounds of the segments in queries and
in keys (int32, [N + 1], on their device) with the most that a segment has of each (numbers of
Python, so that nothing waits for the device); `scale`, `left`, `softcap`. Gives [T, H, D]. Query i
of Q sees the keys i + K - Q - left to i + K - Q of its segment; with -1 for `left` all up to there.
"""

_ROWS_AT_ONCE = 1 << 14
"""Gathered rows whose gradients are widened to float32 at a time, so that few are held so."""


def varlen(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    layout: Layout,
    scale: float,
    *,
    kernel: Kernel,
    window: int | None = None,
    softcap: float | None = None,
) -> Tensor:
    """Attention output [1, T, H, D]; `q` is [1, H, T, D], `k` and `v` are [1, G, T, D].

    A kernel need not take strides: what it gets is contiguous.
    """
    gathered_k, gathered_v = (
        gather(tensor[0].transpose(0, 1), layout.key_rows_K) for tensor in (k, v)
    )
    output_THD = kernel(
        q[0].transpose(0, 1).contiguous(),
        gathered_k,
        gathered_v,
        layout.query_bounds,
        layout.key_bounds,
        layout.most_queries,
        layout.longest,
        scale=scale,
        left=-1 if window is None else window - 1,
        softcap=softcap,
    )
    return output_THD[None]


def gather(x_TGD: Tensor, row_K: Tensor) -> Tensor:
    """Rows of keys or values, [K, G, D], contiguous.

    The gradient of a row that many segments see is a sum of as many parts: taken in float32 and
    rounded once. On CUDA its parts come in any order, which moves last bits of that sum, unless
    `torch.use_deterministic_algorithms` is on.
    """
    gathered: Tensor = _Gather.apply(x_TGD, row_K)  # type: ignore[no-untyped-call]
    return gathered


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x_TGD: Tensor, row_K: Tensor) -> Tensor:
        ctx.save_for_backward(row_K)
        ctx.shape = x_TGD.shape
        return x_TGD.index_select(0, row_K)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad_KGD: Tensor) -> tuple[Tensor, None]:
        (row_K,) = ctx.saved_tensors
        wide = torch.promote_types(grad_KGD.dtype, torch.float32)
        grad_TGD = grad_KGD.new_zeros(ctx.shape, dtype=wide)
        for start in range(0, len(row_K), _ROWS_AT_ONCE):
            some = slice(start, start + _ROWS_AT_ONCE)
            grad_TGD.index_add_(0, row_K[some], grad_KGD[some].to(wide))
        return grad_TGD.to(grad_KGD.dtype), None


def torch_kernel(*inputs: Any, scale: float, left: int, softcap: float | None) -> Tensor:
    """Torch's own: float16 and bfloat16, widths of heads that are multiples of 8 up to 256.

    Its backward pass adds up gradients of queries in any order, unless
    `torch.use_deterministic_algorithms` is on, which it asks itself.
    """
    from torch.nn.attention.varlen import varlen_attn

    assert softcap is None, "torch's kernel has no softcap"
    q, k, *_ = inputs
    grouped = q.shape[1] != k.shape[1]
    output = varlen_attn(*inputs, scale=scale, window_size=(left, 0), enable_gqa=grouped)
    assert isinstance(output, Tensor)
    return output


def flash_kernel(*inputs: Any, scale: float, left: int, softcap: float | None) -> Tensor:
    """The one of the package flash-attn (Dao, 2023): float16 and bfloat16, widths up to 256."""
    from flash_attn import flash_attn_varlen_func  # type: ignore[import-not-found]

    # The right bound is named: for segments of one row, `causal` alone takes a way for decoding.
    output: Tensor = flash_attn_varlen_func(
        *inputs,
        dropout_p=0.0,
        softmax_scale=scale,
        causal=True,
        window_size=(left, 0),
        softcap=softcap or 0.0,
        deterministic=torch.are_deterministic_algorithms_enabled(),
    )
    return output


def has_torch_kernel(device: torch.device) -> bool:
    """Whether torch's kernel is there, and the GPU one that it runs on (Ampere or newer)."""
    return (
        find_spec("torch.nn.attention.varlen") is not None
        and torch.backends.cuda.is_flash_attention_available()
        and torch.cuda.get_device_capability(device) >= (8, 0)
    )


def has_flash_kernel(device: torch.device) -> bool:
    """Whether flash-attn is installed in a version that has softcaps (2.6), and the GPU one."""
    if find_spec("flash_attn") is None:
        return False
    try:
        numbers = metadata.version("flash-attn").split(".")[:2]
    except metadata.PackageNotFoundError:  # A later one of another name has put its module there.
        return False
    recent = [int(number) for number in numbers if number.isdigit()] >= [2, 6]
    return recent and torch.cuda.get_device_capability(device) >= (8, 0)
