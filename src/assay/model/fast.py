"""What computes the same as transformers with less: nothing of transformers is changed, modules of
one model get a `forward`.

Behind the attention of its last layer a model of packs needs the scored rows alone. And RMS norms
and rotary embeddings write out every product, which is what they cost on a CPU: there each is one
autograd function with few temporaries, where theirs was seen to compute the same. Linear layers go
to oneDNN where that is faster (`assay.model.products`). Calls of other dtypes and widths remain
theirs.

Shapes: T rows, S scored rows, H heads, D width of what is normalised or turned.
"""

from __future__ import annotations

import contextlib
import copy
import functools
import inspect
from collections.abc import Callable
from types import FunctionType, MethodType
from typing import Any

import torch
from torch import Tensor, nn

from assay.model import products
from assay.tree.pack import Layout

Rotary = Callable[..., tuple[Tensor, Tensor]]
_AFTER_ATTENTION = "mlp"
_ROTARY, _ARGUMENTS = "apply_rotary_pos_emb", ["q", "k", "cos", "sin", "unsqueeze_dim"]


def install(classifier: nn.Module) -> None:
    """Let a model of packs do without what nobody reads, and on the CPU without temporaries.

    Modules that compute something else, or by somebody else's `forward`, stay as they are.
    Idempotent.
    """
    last = last_layer(classifier)
    if last is not None and "forward" not in vars(last):
        vars(last)["forward"] = MethodType(_scored_rows_only, last)
    if any(weight.device.type != "cpu" for weight in classifier.parameters()):
        return
    with torch.no_grad(), torch.autocast("cpu", enabled=False):
        for module in classifier.modules():
            forward = _linear_forward(module) or _norm_forward(module) or _attention_forward(module)
            if forward is not None and "forward" not in vars(module):
                # `copy.deepcopy` binds a bound method to the copy.
                vars(module)["forward"] = MethodType(forward, module)


def remove(classifier: nn.Module) -> None:
    """Undo `install`."""
    for module in classifier.modules():
        if getattr(vars(module).get("forward"), "__module__", None) == __name__:
            del vars(module)["forward"]


def last_layer(classifier: nn.Module) -> nn.Module | None:
    """The layer whose output nobody but the head reads; None where that is not known."""
    config = getattr(classifier, "config", None)
    count = getattr(config.get_text_config(), "num_hidden_layers", None) if config else None
    stacks = [m for m in classifier.modules() if isinstance(m, nn.ModuleList) and len(m) == count]
    layer = stacks[0][-1] if len(stacks) == 1 else None
    return layer if isinstance(getattr(layer, _AFTER_ATTENTION, None), nn.Module) else None


def _scored_rows_only(self: Any, *arguments: Any, **named: Any) -> Any:
    """A layer whose MLP sees the scored rows of a pack; for all others it adds nothing.

    The layer itself runs as it is, with the MLP exchanged in a copy made for this call.
    """
    tree: Layout | None = named.get("tree")
    layer = self
    if tree is not None and 2 * len(tree.scored_row_S) <= tree.num_rows:
        # What `copy.copy` does, which asks sharded modules for another constructor.
        layer = object.__new__(type(self))
        vars(layer).update(vars(self))
        few = functools.partial(_at_rows, getattr(self, _AFTER_ATTENTION), tree.scored_row_S)
        vars(layer)["_modules"] = {**self._modules, _AFTER_ATTENTION: few}
    return type(self).forward(layer, *arguments, **named)


def _at_rows(mlp: nn.Module, row_S: Tensor, hidden_1TD: Tensor) -> Any:
    """What an MLP computes of some rows, zero elsewhere."""
    output_1SD = mlp(hidden_1TD[:, row_S])
    if not isinstance(output_1SD, Tensor):  # Some return what their router chose, too.
        return mlp(hidden_1TD)
    return output_1SD.new_zeros(hidden_1TD.shape).index_copy(1, row_S, output_1SD)


class RmsNorm(torch.autograd.Function):
    """r x (weight + offset) with r = 1 / sqrt(mean(x^2) + eps), of x [..., D] and weight [D].

    Zhang & Sennrich 2019, "Root Mean Square Layer Normalization". For a gradient g of
    the output, w for the sum and row means, that of x is r (g w - x r^2 mean(g w x)).
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight_D: Tensor, eps: float, offset: int) -> Tensor:
        """Keep x, and one number for each row."""
        inverse: Tensor = torch.linalg.vector_norm(x, dim=-1, keepdim=True)
        inverse.square_().div_(x.shape[-1]).add_(eps).rsqrt_()
        ctx.save_for_backward(x, weight_D, inverse)
        ctx.offset = offset
        return (x * inverse).mul_(weight_D + offset if offset else weight_D)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        """Gradients of x and the weight; a frozen one has none."""
        x, weight_D, inverse = ctx.saved_tensors
        scale_D = weight_D + ctx.offset if ctx.offset else weight_D
        product = (grad * x).reshape(-1, x.shape[-1])
        slope = (product @ scale_D).view(inverse.shape) * inverse.square() / -x.shape[-1]
        grad_x = (grad * scale_D).addcmul_(x, slope).mul_(inverse)
        grad_weight_D = inverse.reshape(-1) @ product if ctx.needs_input_grad[1] else None
        return grad_x, grad_weight_D, None, None


class HalfRotation(torch.autograd.Function):
    """x cos + cat(-x2, x1) sin, where x1 and x2 are the halves of x [..., D].

    Su et al. 2021, "RoFormer", section 3.4, in the layout of transformers: elements i and i + D/2
    turn together. Cosine and sine get no gradient.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        """Keep cosine and sine only, which all layers share."""
        ctx.save_for_backward(cos, sin)
        sin1, sin2 = sin.chunk(2, dim=-1)
        return _turned(x, cos, sin1, sin2, sign=1)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        """The gradient of x: turned back."""
        cos, sin = ctx.saved_tensors
        sin1, sin2 = sin.chunk(2, dim=-1)
        return _turned(grad, cos, sin2, sin1, sign=-1), None, None


def _turned(x: Tensor, cos: Tensor, first: Tensor, second: Tensor, sign: int) -> Tensor:
    """x cos + sign cat(-x2 first, x1 second); it lies in memory as x does, a transposed view."""
    output = x * cos
    (output1, output2), (x1, x2) = output.chunk(2, dim=-1), x.chunk(2, dim=-1)
    output1.addcmul_(x2, first, value=-sign)
    output2.addcmul_(x1, second, value=sign)
    return output


def rotary(
    theirs: Rotary, q: Tensor, k: Tensor, cos: Tensor, sin: Tensor, unsqueeze_dim: int = 1
) -> tuple[Tensor, Tensor]:
    """Queries and keys turned by their positions, in the shapes that they came in.

    Queries are [1, H, T, D] ([1, T, H, D] if `unsqueeze_dim` is 2), keys the same with their own
    H, cosine and sine [1, T, D]. `theirs` computes all others, such as heads turned in part.
    """
    whole = q.shape[-1] == k.shape[-1] == cos.shape[-1] and not cos.requires_grad
    if not whole or not all(_is_plain(x, cos.dtype) for x in (q, k, sin)):
        return theirs(q, k, cos, sin, unsqueeze_dim=unsqueeze_dim)
    cos, sin = cos.unsqueeze(unsqueeze_dim), sin.unsqueeze(unsqueeze_dim)
    turned_q, turned_k = (HalfRotation.apply(x, cos, sin) for x in (q, k))  # type: ignore[no-untyped-call]
    return turned_q, turned_k


def _linear_forward(module: nn.Module) -> Any:
    """What multiplies by oneDNN; None where torch itself is as fast, or the layer is another."""
    return _linear if type(module) is nn.Linear and products.is_onednn_faster() else None


def _linear(self: nn.Linear, x: Tensor) -> Tensor:
    single = all(tensor.dtype == products.DTYPE for tensor in (x, self.weight))
    if not single or not _is_plain(x, x.dtype) or x.numel() == 0:
        return nn.Linear.forward(self, x)
    return products.linear(x, self.weight, self.bias)


def _norm_forward(module: nn.Module) -> Any:
    """What computes a norm here; None where it is no norm, or another function than ours."""
    eps: Any = getattr(module, "eps", getattr(module, "variance_epsilon", None))
    weights = dict([*module.named_parameters(), *module.named_buffers()])
    named = type(module).__name__.endswith("RMSNorm") and isinstance(eps, float)
    if not named or [*weights] != ["weight"] or weights["weight"].dim() != 1:
        return None
    x_33D = _random(3, 3, len(weights["weight"])).float()
    x_33D[1] *= eps**0.5  # Larger rows hide where eps stands.
    weight_D, twin = x_33D[0, 0] + 0.5, copy.copy(module)
    vars(twin)["_parameters"] = {"weight": weight_D}
    with contextlib.suppress(Exception):  # Anything may come out of somebody else's module.
        theirs = type(module).forward(twin, x_33D)
        for offset in (0, 1):
            if _equal(RmsNorm.apply(x_33D, weight_D, eps, offset), theirs, 1e-5):  # type: ignore[no-untyped-call]
                return _norm_with(eps, offset)
    return None


@functools.cache
def _norm_with(eps: float, offset: int) -> Any:
    def forward(self: Any, *arguments: Any, **named: Any) -> Any:
        if named or len(arguments) != 1 or not _is_plain(arguments[0], self.weight.dtype):
            return type(self).forward(self, *arguments, **named)
        return RmsNorm.apply(arguments[0], self.weight, eps, offset)  # type: ignore[no-untyped-call]

    return forward


def _attention_forward(module: nn.Module) -> Any:
    """A layer's own forward with one name bound to `rotary`; None where that is not the same."""
    forward = type(module).forward
    if not isinstance(forward, FunctionType) or hasattr(forward, "__wrapped__"):
        return None
    theirs = forward.__globals__.get(_ROTARY)
    known = _ROTARY in forward.__code__.co_names and _turns_halves(theirs)
    return _rebound(forward, theirs) if known else None


@functools.cache
def _turns_halves(theirs: Rotary) -> bool:
    """Whether a function has the arguments of `rotary` and does the same."""
    x = _random(8, 5, 16)
    probe = x[None, :4], x[None, 4:6], x[6:7], x[7:]
    with contextlib.suppress(Exception):  # Anything may come out of somebody else's function.
        pairs = zip(rotary(theirs, *probe), theirs(*probe), strict=True)
        alike = [*inspect.signature(theirs).parameters] == _ARGUMENTS
        return alike and all(_equal(*pair, 1e-12) for pair in pairs)
    return False


@functools.cache
def _rebound(forward: FunctionType, theirs: Rotary) -> FunctionType:
    """One function for all layers of a class."""
    names = {**forward.__globals__, _ROTARY: functools.partial(rotary, theirs)}
    own = FunctionType(forward.__code__, names, None, forward.__defaults__, forward.__closure__)
    own.__kwdefaults__ = forward.__kwdefaults__
    own.__module__ = __name__  # By which `remove` knows it.
    return own


def _is_plain(x: Tensor, dtype: torch.dtype) -> bool:
    wide = x.dtype == dtype and dtype in (torch.float32, torch.float64)
    return wide and x.device.type == "cpu" and not torch.is_autocast_enabled("cpu")


def _random(*shape: int) -> Tensor:
    """The same numbers each time, whatever the caller's random state and default device."""
    generator = torch.Generator("cpu").manual_seed(0)
    return torch.randn(shape, generator=generator, dtype=torch.float64, device="cpu")


def _equal(ours: Tensor, theirs: Tensor, bar: float) -> bool:
    return ours.dtype == theirs.dtype and torch.allclose(ours, theirs, rtol=bar, atol=bar)
