"""Tree attention on the CPU: blocks without masks, merged by their log-sum-exp.

A row attends to itself and its segment in one causal square, and to each span of its path in a
rectangle. Softmax over the union of key sets is the average of the softmaxes over each of them,
weighted by their shares of the total exp-sum (the split that FlashAttention and Hydragen use,
Juravsky et al. 2024, section 3.1). Nothing is gathered, masked or computed in vain.

Autograd must not see the merge: the log-sum-exp that torch's kernel returns has no gradient, so
differentiating through it is silently wrong. Hence one function for all blocks. Its backward is
exact since a block's part of the gradient depends on the merged output and log-sum-exp alone.

Shapes: T rows, H query heads, G key heads (H is a multiple of G), D width of a head.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from assay.tree.pack import Block


def is_available() -> bool:
    """Whether this torch has the CPU kernels that the blocks run on."""
    names = ("_scaled_dot_product_flash_attention_for_cpu",)
    return all(hasattr(torch.ops.aten, name + tail) for name in names for tail in ("", "_backward"))


def cascade(
    q_HTD: Tensor, k_GTD: Tensor, v_GTD: Tensor, blocks: tuple[Block, ...], scale: float
) -> Tensor:
    """Attention output [1, T, H, D]; each argument has a leading dimension of 1."""
    output: Tensor = _Cascade.apply(q_HTD, k_GTD, v_GTD, blocks, scale)  # type: ignore[no-untyped-call]
    return output


class _Cascade(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, q: Tensor, k: Tensor, v: Tensor, blocks: tuple[Block, ...], scale: float
    ) -> Tensor:
        _, heads, rows, width = q.shape
        # Merging in bfloat16 would round once for each block.
        wide = torch.promote_types(q.dtype, torch.float32)
        out_THD = q.new_empty(1, rows, heads, width, dtype=wide)
        lse_TH = q.new_empty(1, rows, heads, dtype=wide)
        for block in blocks:
            mine, theirs = slice(*block.queries), slice(*block.keys)
            part, lse = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(
                q[:, :, mine], k[:, :, theirs], v[:, :, theirs], 0.0, block.is_causal, scale=scale
            )
            part, lse = part.transpose(1, 2), lse.transpose(1, 2)
            if block.is_causal:
                out_THD[:, mine], lse_TH[:, mine] = part, lse
                continue
            so_far = lse_TH[:, mine]
            share = torch.sigmoid(lse - so_far)
            out_THD[:, mine].lerp_(part.to(wide), share[..., None])
            lse_TH[:, mine] = torch.logaddexp(so_far, lse)
        output = out_THD.to(q.dtype)
        ctx.save_for_backward(q, k, v, output, lse_TH)
        ctx.blocks, ctx.scale = blocks, scale
        return output

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad_THD: Tensor) -> tuple[Tensor | None, ...]:
        q, k, v, output, lse_TH = ctx.saved_tensors
        grad_HTD = grad_THD.transpose(1, 2)
        if grad_HTD.stride(-1) != 1:
            grad_HTD = grad_HTD.contiguous()
        out_HTD, lse_HT = output.transpose(1, 2), lse_TH.transpose(1, 2)
        grads = tuple(_rows_first(tensor) for tensor in (q, k, v))
        for block in ctx.blocks:
            mine, theirs = slice(*block.queries), slice(*block.keys)
            parts = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward(
                grad_HTD[:, :, mine],
                q[:, :, mine],
                k[:, :, theirs],
                v[:, :, theirs],
                out_HTD[:, :, mine],
                lse_HT[:, :, mine],
                0.0,
                block.is_causal,
                scale=ctx.scale,
            )
            for grad, part, at in zip(grads, parts, (mine, theirs, theirs), strict=True):
                if block.is_causal:  # The squares come first and cover every row once.
                    grad[:, :, at] = part
                else:
                    grad[:, :, at] += part
        return *grads, None, None


def _rows_first(like: Tensor) -> Tensor:
    """An empty [1, H, T, D] whose memory lies as [1, T, H, D], the way layers make it."""
    heads, rows, width = like.shape[1:]
    return like.new_empty(1, rows, heads, width).transpose(1, 2)
