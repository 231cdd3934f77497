"""Products of linear layers in float32 on processors where oneDNN's are faster than torch's own.

torch multiplies float32 with MKL, which knows Intel's processors best; oneDNN, which torch brings
along, computes the same on others in less time (`make bench-utilisation` tells both rates). Nothing
is timed to choose: the same processor gives the same bits each time.

Shapes: x [..., K], weight [N, K], bias [N].
"""

from __future__ import annotations

import contextlib
import functools
from typing import Any

import torch
from torch import Tensor

from assay.machine import processor_vendor

DTYPE = torch.float32
"""Of all that is multiplied here."""
_FASTER_ON = ("AuthenticAMD",)


@functools.cache
def is_onednn_faster() -> bool:
    """Whether this processor is one of those, and its operator computes the same."""
    return processor_vendor() in _FASTER_ON and _is_right()


def linear(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """What `torch.nn.functional.linear` gives, in float32 on a CPU; differentiable once."""
    tensors = [x, weight] if bias is None else [x, weight, bias]
    if torch.is_grad_enabled() and any(tensor.requires_grad for tensor in tensors):
        return Linear.apply(x, weight, bias)  # type: ignore[no-untyped-call,no-any-return]
    return _product(x, weight, bias)


class Linear(torch.autograd.Function):
    """x weight^T + bias, with gradients g weight, g^T x and the sum of g over rows.

    The gradient of the weight is MKL's product: oneDNN would turn both matrices round first.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """Keep the weight, and x where the weight is trained."""
        ctx.save_for_backward(x if ctx.needs_input_grad[1] else None, weight)
        return _product(x, weight, bias)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        """Gradients of what needs one."""
        x, weight = ctx.saved_tensors
        needs_x, needs_weight, needs_bias = ctx.needs_input_grad
        rows = grad.reshape(-1, grad.shape[-1])
        grad_x = _product(grad, weight.t(), None) if needs_x else None
        grad_weight = rows.t() @ x.reshape(-1, x.shape[-1]) if needs_weight else None
        return grad_x, grad_weight, rows.sum(0) if needs_bias else None


def _is_right() -> bool:
    """Torch may be built without the operator, and does not promise to keep it."""
    generator = torch.Generator("cpu").manual_seed(0)
    x, weight = torch.randn(2, 9, 9, generator=generator, device="cpu", dtype=torch.float32)
    with contextlib.suppress(AttributeError, RuntimeError, TypeError), torch.no_grad():
        theirs = torch.nn.functional.linear(x, weight, x[0])
        return torch.allclose(_product(x, weight, x[0]), theirs, rtol=1e-5, atol=1e-5)
    return False


def _product(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """The operator that torch's compiler puts in the place of linear layers on CPUs."""
    result: Tensor = torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")
    return result
