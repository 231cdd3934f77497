"""The attention function that transformers calls in every layer of a packed model.

Registered under one name with `AttentionInterface`; the layout of the pack travels as the keyword
argument `tree`. No mask function is registered under the name, so transformers builds no mask.
Which kernel computes is decided here, by what a layer asks for and what the device has.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable, Collection
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn

from assay.errors import ModelError
from assay.tree import cascade, flex, varlen
from assay.tree.pack import Layout
from assay.tree.segments import by_segment

NAME = "assay_tree"

Kernel = Literal["cascade", "varlen", "flash-attn", "flex", "segments"]
KERNELS: tuple[Kernel, ...] = ("cascade", "varlen", "flash-attn", "flex", "segments")
"""The first that can do what a layer asks for is taken; the last can do all."""

_HALVES = (torch.float16, torch.bfloat16)


class Demand(NamedTuple):
    """What a layer asks of a kernel."""

    device: str
    """Its type."""
    dtype: torch.dtype
    width: int
    """Of queries and keys; that of values may be another."""
    value_width: int
    window: bool = False
    softcap: bool = False
    sinks: bool = False


def kernel_for(demand: Demand, there: Collection[Kernel]) -> Kernel:
    """The kernel that computes a layer, among those that are there."""
    return next(
        name for name in KERNELS if name == "segments" or (name in there and _can(name, demand))
    )


def _can(name: Kernel, demand: Demand) -> bool:
    device, dtype, width, value_width, window, softcap, sinks = demand
    one_width = width == value_width  # Not so where values are projected from latents.
    if name == "cascade":
        return device == "cpu" and one_width and not (window or softcap or sinks)
    if name == "flex":
        wide_enough = min(width, value_width) >= 16
        return device == "cuda" and dtype in (*_HALVES, torch.float32) and wide_enough
    fits = device == "cuda" and dtype in _HALVES and one_width and width <= 256 and not sinks
    return fits and (name == "flash-attn" or (width % 8 == 0 and not softcap))


def kernels_on(device: torch.device) -> frozenset[Kernel]:
    """The kernels that a device has, besides the one that all have."""
    if device.type == "cpu" and cascade.is_available():
        return frozenset({"cascade"})
    return _kernels_on_gpu(device) if device.type == "cuda" else frozenset()


@functools.cache
def _kernels_on_gpu(device: torch.device) -> frozenset[Kernel]:
    found: dict[Kernel, bool] = {
        "varlen": varlen.has_torch_kernel(device),
        "flash-attn": varlen.has_flash_kernel(device),
        "flex": flex.is_available(device),
    }
    return frozenset(name for name, is_there in found.items() if is_there)


def tree_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    *,
    tree: Layout | None = None,
    scaling: float | None = None,
    dropout: float = 0.0,
    sliding_window: int | None = None,
    softcap: float | None = None,
    s_aux: Tensor | None = None,
    refused: frozenset[Kernel] = frozenset(),
    used: set[Kernel] | None = None,
    **ignored: Any,
) -> tuple[Tensor, None]:
    """Attention of one layer over a pack.

    Args:
        module: the layer, as transformers passes it.
        query: [1, H, T, D], rotary applied.
        key: [1, G, T, D].
        value: [1, G, T, D].
        attention_mask: must be None: the layout says who attends to whom.
        tree: the layout of the pack.
        scaling: of the logits; by default 1 / sqrt(D).
        dropout: must be 0, for rewards must not depend on chance.
        sliding_window: keys that a query sees, itself included, in tree positions.
        softcap: bound of the logits.
        s_aux: one sink logit for each head.
        refused: kernels that were found to be wrong for the model on this device.
        used: gets the name of the kernel.
        ignored: what transformers passes to all attention functions.

    Returns:
        [1, T, H, D], and None for the weights.

    Raises:
        ModelError: called without a layout, with a mask or with dropout.
    """
    if tree is None or attention_mask is not None:
        raise ModelError(
            "this model computes packs of Assay only: without their layout its attention would be "
            "silently wrong",
            mend="score through RewardModel, or load the saved directory with transformers",
        )
    if dropout:
        raise ModelError(
            "attention dropout would make rewards depend on chance",
            mend="set the attention dropout of the model's config to 0",
        )
    # Under autocast rotary embeddings leave queries and keys wider than values.
    query, key = query.to(value.dtype), key.to(value.dtype)
    if tree.history is not None:
        key, value = tree.history.extended(key), tree.history.extended(value)
    scale = query.shape[-1] ** -0.5 if scaling is None else float(scaling)
    window = (
        sliding_window if sliding_window is not None and sliding_window < tree.longest else None
    )
    asked = (window is not None, softcap is not None, s_aux is not None)
    demand = Demand(query.device.type, query.dtype, query.shape[-1], value.shape[-1], *asked)
    kernel = kernel_for(demand, {*kernels_on(query.device)} - refused)
    if used is not None:
        used.add(kernel)
    if kernel == "cascade":
        return cascade.cascade(query, key, value, tree.blocks, scale), None
    inputs = query, key, value, tree, scale
    if kernel in ("flex", "segments"):
        attend: Callable[..., Tensor] = flex.flex if kernel == "flex" else by_segment
        return attend(*inputs, window=window, softcap=softcap, sink_H=s_aux), None
    call = varlen.torch_kernel if kernel == "varlen" else varlen.flash_kernel
    return varlen.varlen(*inputs, kernel=call, window=window, softcap=softcap), None


def register() -> None:
    """Make the name known to transformers, and a warning of its that is false here unheard."""
    from transformers import AttentionInterface

    AttentionInterface.register(NAME, tree_attention)
    logger = logging.getLogger("transformers.modeling_utils")
    if _not_about_padding not in logger.filters:
        logger.addFilter(_not_about_padding)


def name_without(refused: Collection[Kernel]) -> str:
    """The name under which transformers knows this attention without some kernels.

    Kernels have numbers in it: of a name with "flash" in it transformers thinks that it is its own.
    """
    if not refused:
        return NAME
    from transformers import AttentionInterface

    name = "_".join([NAME, "without", *(str(n) for n, k in enumerate(KERNELS) if k in refused)])
    AttentionInterface.register(name, functools.partial(tree_attention, refused=frozenset(refused)))
    return name


def _not_about_padding(record: logging.LogRecord) -> bool:
    """Packs have no padding, and no mask; batches that have some are given one."""
    return "strongly recommend passing in an `attention_mask`" not in record.getMessage()
