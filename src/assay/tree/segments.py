"""Attention segment by segment: what windows, softcaps, sinks and other devices need.

Keys are gathered once: for each segment its path, then itself. That is the contract of
variable-length kernels with bottom-right causality, run here one segment at a time.

Shapes: T rows, H query heads, G key heads, D width of a head, Q and K of one segment.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from assay.tree.pack import Layout

MASK_BYTES = 1 << 26
"""Masks that a layout keeps for its other layers, at most; what is more is made again."""


def by_segment(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    layout: Layout,
    scale: float,
    *,
    window: int | None = None,
    softcap: float | None = None,
    sink_H: Tensor | None = None,
) -> Tensor:
    """Attention output [1, T, H, D]; `q` is [1, H, T, D], `k` and `v` are [1, G, T, D]."""
    gathered_k, gathered_v = k[:, :, layout.key_rows_K], v[:, :, layout.key_rows_K]
    outputs = []
    for segment, start, stop in zip(
        layout.segments, layout.key_offsets, layout.key_offsets[1:], strict=False
    ):
        inputs = (
            q[:, :, slice(*segment.rows)],
            gathered_k[:, :, start:stop],
            gathered_v[:, :, start:stop],
        )
        if softcap is None and sink_H is None:
            outputs.append(_fused(*inputs, layout, scale, window))
        else:
            sees_QK = _kept_mask(layout, segment.num_rows, stop - start, window, q.device)
            outputs.append(attend(*inputs, sees_QK, scale, softcap=softcap, sink_H=sink_H))
    return torch.cat(outputs, dim=2).transpose(1, 2)


def dense(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    layout: Layout,
    scale: float,
    *,
    window: int | None = None,
    softcap: float | None = None,
    sink_H: Tensor | None = None,
) -> Tensor:
    """The same from one mask over all pairs of rows: slow, plain, the reference of the others."""
    sees_TT = layout.sees_TT(window)
    return attend(q, k, v, sees_TT, scale, softcap=softcap, sink_H=sink_H).transpose(1, 2)


def attend(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    sees_QK: Tensor,
    scale: float,
    *,
    softcap: float | None = None,
    sink_H: Tensor | None = None,
) -> Tensor:
    """Softmax attention written out, [1, H, Q, D]; softmax in float32 or wider.

    Softcap: Gemma 2 (2024, section 2). A sink is one more logit for each head, without a value.
    """
    repeats = q.shape[1] // k.shape[1]
    k, v = k.repeat_interleave(repeats, dim=1), v.repeat_interleave(repeats, dim=1)
    logits = q @ k.mT * scale
    if softcap is not None:
        logits = softcap * torch.tanh(logits / softcap)
    logits = logits.to(torch.promote_types(q.dtype, torch.float32))
    logits = logits.masked_fill(~sees_QK, -torch.inf)
    if sink_H is not None:
        sink = sink_H.to(logits)[None, :, None, None].expand(*logits.shape[:3], 1)
        logits = torch.cat([logits, sink], dim=-1)
    weights = logits.softmax(dim=-1)[..., : k.shape[2]]
    return weights.to(v.dtype) @ v


def bottom_right(queries: int, keys: int, window: int | None, device: torch.device) -> Tensor:
    """Which of the keys each query sees, the last query being at the last key."""
    query_Q1 = torch.arange(keys - queries, keys, device=device)[:, None]
    key_K = torch.arange(keys, device=device)
    sees_QK = key_K <= query_Q1
    return sees_QK if window is None else sees_QK & (query_Q1 - key_K < window)


def _kept_mask(
    layout: Layout, queries: int, keys: int, window: int | None, device: torch.device
) -> Tensor:
    """`bottom_right`, made once for all layers and segments of this size."""
    kept: dict[tuple[int, int, int | None], Tensor] = layout.made.setdefault(bottom_right, {})
    mask_QK = kept.get((queries, keys, window))
    if mask_QK is None:
        with torch.inference_mode(False):  # A later pass may save it for its gradients.
            mask_QK = bottom_right(queries, keys, window, device)
        if sum(mask.numel() for mask in kept.values()) + mask_QK.numel() <= MASK_BYTES:
            kept[queries, keys, window] = mask_QK
    return mask_QK


def _fused(
    q: Tensor, k: Tensor, v: Tensor, layout: Layout, scale: float, window: int | None
) -> Tensor:
    queries, keys = q.shape[2], k.shape[2]
    grouped = q.shape[1] != k.shape[1]
    narrow = window is not None and window < keys
    if queries == keys and not narrow:
        return F.scaled_dot_product_attention(
            q, k, v, is_causal=True, scale=scale, enable_gqa=grouped
        )
    mask_QK = _kept_mask(layout, queries, keys, window, q.device)
    return F.scaled_dot_product_attention(
        q, k, v, attn_mask=mask_QK, scale=scale, enable_gqa=grouped
    )
