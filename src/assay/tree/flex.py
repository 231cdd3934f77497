"""Tree attention on GPUs where variable-length kernels end: softcaps, sinks, float32.

Torch's flex attention compiles a kernel around a mask that is a function of two indices. Rows of a
tree stand in the order of a depth-first walk, so that those that see a row stand together, from the
row itself on: "row q sees row k" is two comparisons with numbers of k, at any depth of the tree.

Neither mask nor logits hold a number of Python: compiled for any number of rows, torch would make a
symbol of each, which its kernel does not take. The same rule gives the scale its tensor.

Shapes: T rows, K rows of keys (T, and those known from before), H query heads, G key heads, D width
of a head, Q and N the same as T and K, filled up to whole blocks.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from importlib.util import find_spec
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from assay.errors import ModelError
from assay.tree.pack import Layout

BLOCK = 128
"""Rows in a block of the mask; queries and keys are filled up to whole ones."""

_PAIRS_AT_ONCE = 1 << 26
"""Pairs of rows that are looked at together when the blocks of a mask are sorted."""
_VARIANTS = 64
"""Kernels that torch may compile: by heads, widths, dtypes, kinds of logits, with gradients and
without. Its own bound of 8 is for one of them."""

Flex = Callable[..., Any]
"""`torch.nn.attention.flex_attention.flex_attention`, compiled or not."""


class Sight(NamedTuple):
    """Row k is seen by rows `first_N[k]` to, not including, `stop_N[k]`. int32.

    With a window, only by those whose position, `position_Q`, is below `reach_N[k]`.
    """

    first_N: Tensor
    stop_N: Tensor
    position_Q: Tensor
    reach_N: Tensor | None


def flex(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    layout: Layout,
    scale: float,
    *,
    window: int | None = None,
    softcap: float | None = None,
    sink_H: Tensor | None = None,
    attend: Flex | None = None,
) -> Tensor:
    """Attention output [1, T, H, D]; `q` is [1, H, T, D], `k` and `v` are [1, G, T, D].

    `attend` is flex attention, by default compiled.

    A sink is one more logit for each head, without a value. What it takes from all others is the
    share that it has of the sum of exponentials: the output is multiplied by
    1 - exp(sink) / (exp(sink) + exp(lse)), whose gradient flex attention sends back through lse.

    Raises:
        ModelError: rows that see a row do not stand together.
    """
    from torch.nn.attention.flex_attention import AuxRequest

    rows = q.shape[2]
    mask = block_mask(layout, k.shape[2], window, q.device)
    queries, keys = mask.seq_lengths
    found, aux = (attend or _compiled())(
        _filled(q, queries),
        _filled(k, keys),
        _filled(v, keys),
        score_mod=_logits(q, scale, softcap),
        block_mask=mask,
        enable_gqa=q.shape[1] != k.shape[1],
        return_aux=AuxRequest(lse=sink_H is not None),
    )
    output: Tensor = found[:, :, :rows]
    if sink_H is not None:
        lse_HT1 = aux.lse[:, :, :rows, None]
        share = torch.sigmoid(lse_HT1 - sink_H.to(lse_HT1.dtype)[:, None, None])
        output = (output * share).to(v.dtype)
    return output.transpose(1, 2)


def is_available(device: torch.device) -> bool:
    """Whether there is what flex attention compiles with, and a GPU that it compiles for."""
    return find_spec("triton") is not None and torch.cuda.get_device_capability(device) >= (7, 0)


def block_mask(layout: Layout, num_keys: int, window: int | None, device: torch.device) -> Any:
    """Torch's `BlockMask` of a layout, made once for all layers of a pass.

    Its blocks are found a few rows at a time, never from a mask over all pairs of rows.
    """
    made = layout.made.setdefault(block_mask, {})
    if (num_keys, window) not in made:
        # Made under inference mode it could not be saved for the gradients of a later pass.
        with torch.inference_mode(False), torch.no_grad():
            made[num_keys, window] = _block_mask(sight_of(layout, num_keys, window, device))
    return made[num_keys, window]


def sight_of(layout: Layout, num_keys: int, window: int | None, device: torch.device) -> Sight:
    """Who sees each row of a layout, filled up to whole blocks.

    Rows that fill up queries see one row that fills up keys, and no more: of a row that sees
    nothing the log-sum-exp would be infinite.
    """
    rows = layout.num_rows
    filled_rows = _whole_blocks(rows)
    filled_keys = _whole_blocks(num_keys + 1 if filled_rows > rows else num_keys)
    first, stop, count, position = (
        torch.zeros(filled_keys, dtype=torch.int32) for _ in ("first", "stop", "count", "position")
    )
    position_Q = torch.zeros(filled_rows, dtype=torch.int32)
    first[:rows] = torch.arange(rows)
    first[rows:num_keys] = rows  # Known rows: the first that sees them is found below.
    for segment in layout.segments:
        own, depth = slice(*segment.rows), 0
        stop[own] = stop[own].clamp(min=segment.rows.stop)
        count[own] += torch.arange(segment.num_rows, 0, -1, dtype=torch.int32)
        for span in segment.path:
            there = slice(*span)
            first[there] = first[there].clamp(max=segment.rows.start)
            stop[there] = stop[there].clamp(min=segment.rows.stop)
            count[there] += segment.num_rows
            position[there] = torch.arange(depth, depth + span.stop - span.start)
            depth += span.stop - span.start
        position[own] = torch.arange(depth, depth + segment.num_rows)
        position_Q[own] = position[own]
    seen = count > 0
    if not torch.equal((stop - first)[seen], count[seen]):
        raise ModelError("rows that see a row do not stand together in this pack")
    first[~seen] = 0
    if filled_rows > rows:
        first[num_keys], stop[num_keys] = rows, filled_rows
    return Sight(
        first.to(device),
        stop.to(device),
        position_Q.to(device),
        None if window is None else (position + window).to(device),
    )


def _block_mask(sight: Sight) -> Any:
    from torch.nn.attention.flex_attention import BlockMask

    queries, keys = len(sight.position_Q), len(sight.first_N)
    device = sight.first_N.device
    key_1N = torch.arange(keys, device=device)[None]
    whole = BLOCK * BLOCK
    sees, counts = mask_mod(sight), []
    step = max(1, _PAIRS_AT_ONCE // (keys * BLOCK)) * BLOCK
    for start in range(0, queries, step):
        some = torch.arange(start, min(start + step, queries), device=device)
        sees_QN = sees(key_1N, key_1N, some[:, None], key_1N)
        counts.append(sees_QN.view(-1, BLOCK, keys // BLOCK, BLOCK).sum((1, 3)))
    count = torch.cat(counts)
    return BlockMask.from_kv_blocks(
        *_in_order((count > 0) & (count < whole)),
        *_in_order(count == whole),
        BLOCK_SIZE=BLOCK,
        mask_mod=sees,
        seq_lengths=(queries, keys),
    )


def mask_mod(sight: Sight) -> Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]:
    """Whether a row of queries sees a row of keys, as flex attention asks."""
    first_N, stop_N, position_Q, reach_N = sight
    if reach_N is None:

        def sees(batch: Tensor, head: Tensor, query: Tensor, key: Tensor) -> Tensor:
            return (first_N[key] <= query) & (query < stop_N[key])

        return sees

    def sees_near(batch: Tensor, head: Tensor, query: Tensor, key: Tensor) -> Tensor:
        near = position_Q[query] < reach_N[key]
        return (first_N[key] <= query) & (query < stop_N[key]) & near

    return sees_near


def _in_order(which: Tensor) -> tuple[Tensor, Tensor]:
    """How many blocks of keys each block of queries has, and which, those first; [1, 1, ...]."""
    count = which.sum(-1, dtype=torch.int32)
    order = torch.argsort(which.to(torch.int8), dim=-1, descending=True, stable=True)
    return count[None, None], order.to(torch.int32)[None, None]


def _logits(q: Tensor, scale: float, softcap: float | None) -> Callable[..., Tensor] | None:
    """What becomes of a logit that flex attention has scaled by 1 / sqrt(D); None if nothing."""
    heads, width = q.shape[1], q.shape[-1]
    factor = scale * width**0.5
    wide = torch.promote_types(q.dtype, torch.float32)
    with torch.inference_mode(False):
        factor_H = torch.full((heads,), factor, dtype=wide, device=q.device)
        cap_H = torch.full((heads,), softcap or 1.0, dtype=wide, device=q.device)
    if softcap is not None:

        def capped(score: Tensor, batch: Tensor, head: Tensor, q: Tensor, k: Tensor) -> Tensor:
            cap = cap_H[head]
            return cap * torch.tanh(score * factor_H[head] / cap)

        return capped
    if abs(factor - 1) < 1e-12:
        return None

    def scaled(score: Tensor, batch: Tensor, head: Tensor, q: Tensor, k: Tensor) -> Tensor:
        return score * factor_H[head]

    return scaled


def _filled(x: Tensor, rows: int) -> Tensor:
    """Rows of zeros behind those of x [1, H, T, D], contiguous."""
    return F.pad(x, (0, 0, 0, rows - x.shape[2])).contiguous()


def _whole_blocks(rows: int) -> int:
    return -(-rows // BLOCK) * BLOCK


@functools.cache
def _compiled() -> Flex:
    """Flex attention, compiled once for any number of rows."""
    from torch.nn.attention.flex_attention import flex_attention

    # Whole or not at all: what is left of a broken graph would hold all pairs of rows in memory.
    compiler: Any = torch.compile  # Not all of its arguments are in its annotations.
    compiled: Flex = compiler(
        flex_attention, dynamic=True, fullgraph=True, recompile_limit=_VARIANTS
    )
    return compiled
