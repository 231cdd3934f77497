"""Which linear layers of a backbone 8 bits can take the place of, and putting them there.

What a layer reads is seen on the way through the model, not guessed from names: which layers read
one tensor, how large its columns are, which three make a gated MLP. Layers that are not reached
stay as they are, and so does the head.

Shapes: K inputs, N outputs.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from assay.model.int8.layers import MOST_INPUTS, Int8Linear, Int8Mlp, Int8Weight, Joined

LEAST = 16
"""Inputs or outputs below which a layer is not worth the rounding."""
ALPHA = 0.8
"""How much of the difference between columns of an input goes into the weights."""


@dataclass(slots=True)
class Layer:
    """A linear layer in its place, and the largest magnitude of each column that it read."""

    parent: nn.Module
    name: str
    module: nn.Module
    largest_K: Tensor | None = None

    @property
    def weight_NK(self) -> Tensor:
        """As `nn.Linear` holds it."""
        weight: Any = self.module.weight
        found: Tensor = weight if isinstance(self.module, nn.Linear) else weight.T
        return found.detach()

    @property
    def bias_N(self) -> Tensor | None:
        """Its bias, if it has one."""
        bias: Any = self.module.bias
        return None if bias is None else bias.detach()


@dataclass(slots=True)
class Readers:
    """Layers of one parent that read one tensor, in the order of their calls."""

    layers: list[Layer] = field(default_factory=list)

    @property
    def cost(self) -> int:
        """Products of one row."""
        return sum(layer.weight_NK.numel() for layer in self.layers)

    def columns(self) -> Tensor:
        """What to multiply the input's columns by: powers of two, which round nothing."""
        largest = [layer.largest_K for layer in self.layers if layer.largest_K is not None]
        read_K = torch.stack(largest).amax(0).clamp_min(1e-5)
        weight_K = torch.cat([layer.weight_NK for layer in self.layers]).abs().amax(0)
        ratio_K = read_K**ALPHA / weight_K.clamp_min(1e-8) ** (1 - ALPHA)
        return torch.exp2((ratio_K.mean() / ratio_K).log2().round())


@dataclass(frozen=True, slots=True)
class Choice:
    """How the layers of some readers compute; the words are those of `Int8Weight`."""

    terms: int
    seconds: tuple[int, ...] = ()
    columns_K: Tensor | None = None

    def weight(self, readers: Readers) -> Int8Weight:
        """Their weights in 8 bits."""
        weights = [layer.weight_NK for layer in readers.layers]
        return Int8Weight(weights, self.columns_K, self.terms, self.seconds)


def linear_layers(backbone: nn.Module) -> list[Layer]:
    """Those that 8 bits could take the place of. One that stands in two places is left out."""
    found = [
        Layer(parent, name, child)
        for parent in backbone.modules()
        for name, child in parent.named_children()
        if _is_linear(child)
    ]
    count = Counter(id(layer.module) for layer in found)
    return [layer for layer in found if count[id(layer.module)] == 1]


def _is_linear(module: nn.Module) -> bool:
    if type(module) not in (nn.Linear, Conv1D):
        return False
    weight: Any = module.weight
    sizes: list[int] = list(weight.shape)
    return weight.dtype == torch.float32 and min(sizes) >= LEAST and max(sizes) <= MOST_INPUTS


@contextmanager
def watching(layers: Sequence[Layer]) -> Iterator[list[Readers]]:
    """Note what layers read as long as the block runs; which read together, in its list."""
    found: list[Readers] = []
    last: list[Tensor] = []

    def see(layer: Layer) -> Callable[..., None]:
        def hook(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            largest_K = inputs[0].detach().abs().flatten(0, -2).amax(0)
            if layer.largest_K is not None:  # In a second pass, or a second time in one.
                layer.largest_K = torch.maximum(largest_K, layer.largest_K)
                return
            layer.largest_K = largest_K
            together = last and last[0] is inputs[0]
            if not together or found[-1].layers[0].parent is not layer.parent:
                found.append(Readers())
            found[-1].layers.append(layer)
            last[:] = inputs[:1]

        return hook

    with ExitStack() as hooks:
        for layer in layers:
            hooks.enter_context(layer.module.register_forward_pre_hook(see(layer)))
        yield found


def exchange(
    backbone: nn.Module, found: Sequence[Readers], choices: Sequence[Choice]
) -> dict[str, int]:
    """Put 8-bit layers in the place of those that were found, in place.

    Args:
        backbone: the model without its head.
        found: what `watching` found in it.
        choices: of each readers, how they compute.

    Returns:
        How many layers are in 8 bits now, and how many of them within gated MLPs as one.
    """
    places = {
        id(child): (parent, name)
        for parent in backbone.modules()
        for name, child in parent.named_children()
    }
    of_layer = {id(readers.layers[0].module): number for number, readers in enumerate(found)}
    done: set[int] = set()
    for number, readers in enumerate(found):
        mlp = _gated_mlp(readers)
        if mlp is None or id(mlp[0].module) not in of_layer:
            continue
        last = of_layer[id(mlp[0].module)]
        if len(found[last].layers) == 1:
            weights = choices[number].weight(readers), choices[last].weight(found[last])
            parent, name = places[id(readers.layers[0].parent)]
            setattr(parent, name, Int8Mlp(*weights, mlp[1]))
            done |= {number, last}
    for number, readers in enumerate(found):
        if number not in done:
            joined = Joined(
                choices[number].weight(readers), [layer.bias_N for layer in readers.layers]
            )
            for index, layer in enumerate(readers.layers):
                setattr(layer.parent, layer.name, Int8Linear(joined, index))
    return {
        "layers": sum(len(readers.layers) for readers in found),
        "in_mlps": sum(len(found[number].layers) for number in done),
    }


@torch.no_grad()
def _gated_mlp(readers: Readers) -> tuple[Layer, nn.Module] | None:
    """The last layer and the activation, where the parent is seen to be down(act(gate) * up)."""
    parent, layers = readers.layers[0].parent, readers.layers
    others = {
        name: child
        for name, child in parent.named_children()
        if all(child is not layer.module for layer in layers)
    }
    linear = [name for name, child in others.items() if type(child) is nn.Linear]
    acts = [child for child in others.values() if type(child) is not nn.Linear]
    if len(layers) != 2 or len(linear) != 1 or len(acts) != 1:
        return None
    down: Any = others[linear[0]]
    modules: list[Any] = [layer.module for layer in layers]
    gate, up = modules
    if any(layer.bias is not None for layer in (gate, up, down)):
        return None
    if down.out_features != gate.in_features or not _is_linear(down):
        return None
    generator = torch.Generator().manual_seed(0)
    x_3K = torch.randn(3, gate.in_features, generator=generator)
    theirs, ours = parent(x_3K), down(acts[0](gate(x_3K)) * up(x_3K))
    same = isinstance(theirs, Tensor) and torch.allclose(theirs, ours, rtol=1e-4, atol=1e-5)
    return (Layer(parent, linear[0], down), acts[0]) if same else None
