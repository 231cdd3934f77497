"""Linear layers in 8 bits: integer products that are exact, and rounding that costs little.

Each row of an input and each output channel of a weight has a scale of its own, so that its largest
magnitude is 127; what stands beside a row has no part in it. Products are summed exactly, in 32
bits. A second term holds what the rounding of an input leaves, in steps of 1 / 254: that
is as good as 16 bits, for twice the products.

Inputs of a layer whose channels are of very different size are rounded by the largest. Their
columns are multiplied by powers of two, and the weights divided by them, which changes no product
(SmoothQuant: Xiao et al., 2023).

Shapes: M rows, B rows of a block, K inputs, N outputs of several layers that read one input.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

LARGEST = 127
MOST_INPUTS = (2**31 - 1) // LARGEST**2
"""Of a product whose sum cannot overflow."""
_SECOND = 254
"""Steps of the second term in one of the first: it is at most half of one, 127 again."""
_TINY = 1e-35
"""A row of nothing larger is a row of zeros; 127 divided by it is finite."""
_BLOCK = 256
"""Rows of one thread whose sums stay in its core's cache until they are numbers again."""


def product(row_MK: Tensor, weight_NK: Tensor) -> Tensor:
    """Sums [M, N] of products of integers from -127 to 127, exact, as 32-bit integers."""
    if row_MK.shape[1] == 1:  # Of one input torch 2.13 computes nonsense.
        row_MK, weight_NK = (F.pad(matrix, (0, 1)) for matrix in (row_MK, weight_NK))
    return torch._int_mm(row_MK, weight_NK.T)


def rounded(row_MK: Tensor, terms: int = 1) -> tuple[list[Tensor], Tensor]:
    """Each row as integers from -127 to 127, a matrix for each term, and its scale [M, 1].

    The row is scale x (first + second / 254). A row with a number that is not finite keeps saying
    so: its scale is not finite either.
    """
    # Two passes that read; a norm of order infinity takes as long as the product itself.
    largest_M1 = torch.maximum(row_MK.amax(-1, True), row_MK.amin(-1, True).neg_())
    inverse_M1 = torch.where(largest_M1 > _TINY, LARGEST / largest_M1, 0)
    steps_MK = row_MK * inverse_M1
    scale_M1 = largest_M1.div_(LARGEST)
    if terms == 1:
        return [steps_MK.round_().to(torch.int8)], scale_M1
    whole_MK = steps_MK.round()
    rest_MK = steps_MK.sub_(whole_MK).mul_(_SECOND).round_()
    return [whole_MK.to(torch.int8), rest_MK.to(torch.int8)], scale_M1


class Int8Weight(nn.Module):
    """The weights of layers that read one input, one below the other, in 8 bits.

    Args:
        weights: of each layer [N of the layer, K], float32.
        columns_K: what the input's columns are multiplied by; None leaves them.
        terms: of the input, 1 or 2.
        seconds: the layers whose weights have a second term, too, which meets the input's first.
    """

    weight_NK: Tensor
    scale_N: Tensor
    columns_K: Tensor | None

    def __init__(
        self,
        weights: Sequence[Tensor],
        columns_K: Tensor | None = None,
        terms: int = 1,
        seconds: Collection[int] = (),
    ) -> None:
        super().__init__()
        weight_NK = torch.cat([weight.detach() for weight in weights])
        if columns_K is not None:
            weight_NK = weight_NK / columns_K
        (first_NK, second_NK), scale_N1 = rounded(weight_NK, 2)
        if terms == 1 and not seconds:  # Else the first is what the second is the rest of.
            [first_NK], scale_N1 = rounded(weight_NK)
        self.terms = terms
        self.parts = list(_parts([len(weight) for weight in weights]))
        self.register_buffer("weight_NK", first_NK)
        self.register_buffer("scale_N", scale_N1.squeeze(1))
        self.register_buffer("columns_K", columns_K)
        for number in seconds:
            self.register_buffer(f"second_{number}", second_NK[self.parts[number]].clone())
        self.seconds = sorted(seconds)

    def sums(self, x_BK: Tensor) -> Sums:
        """What the products add up to, and each row's scale."""
        if self.columns_K is not None:
            x_BK = x_BK * self.columns_K
        terms, scale_B1 = rounded(x_BK, self.terms)
        return Sums(
            [product(term_BK, self.weight_NK) for term_BK in terms],
            {n: product(terms[0], self.get_buffer(f"second_{n}")) for n in self.seconds},
            scale_B1,
            self.parts,
        )


@dataclass(frozen=True, slots=True)
class Sums:
    """Products [B, N] of each term, in steps of the row's scale times the channel's.

    `seconds` are those with second terms of weights, by layer.
    """

    terms: list[Tensor]
    seconds: dict[int, Tensor]
    scale_B1: Tensor
    parts: list[slice]

    def write(self, output_BN: Tensor, number: int) -> Tensor:
        """Put those of a layer into a float32 matrix, still in steps."""
        part = self.parts[number]
        output_BN.copy_(self.terms[0][:, part])
        rests = [term_BN[:, part] for term_BN in self.terms[1:]]
        if number in self.seconds:
            rests.append(self.seconds[number])
        for rest_BN in rests:
            output_BN.add_(rest_BN.float(), alpha=1 / _SECOND)
        return output_BN


class Joined:
    """Linear layers that read one tensor, which is rounded and multiplied once for all of them.

    The first that is called computes all; the others take what is theirs. What is kept between
    their calls is gone after the last.

    Args:
        weight: of all of them.
        biases: of each, or None.
    """

    def __init__(self, weight: Int8Weight, biases: Sequence[Tensor | None]) -> None:
        self.weight = weight
        self.biases = list(biases)
        self._input: Tensor | None = None
        self._outputs: dict[int, Tensor] = {}

    def output(self, x: Tensor, number: int) -> Tensor:
        """What the layer of this number makes of an input [..., K]."""
        if self._input is not x or number not in self._outputs:
            self._outputs = dict(enumerate(self._computed(x.reshape(-1, x.shape[-1]))))
            self._input = x
        output_MN = self._outputs.pop(number)
        if not self._outputs:
            self._input = None
        return output_MN.view(*x.shape[:-1], -1)

    def _computed(self, x_MK: Tensor) -> list[Tensor]:
        _refuse_gradients(x_MK)
        parts = self.weight.parts
        outputs = [x_MK.new_empty(len(x_MK), part.stop - part.start) for part in parts]
        for rows in blocks(len(x_MK)):
            sums = self.weight.sums(x_MK[rows])
            for number, (output_MN, bias_N) in enumerate(zip(outputs, self.biases, strict=True)):
                block_BN = sums.write(output_MN[rows], number)
                block_BN.mul_(sums.scale_B1).mul_(self.weight.scale_N[parts[number]])
                if bias_N is not None:
                    block_BN.add_(bias_N)
        return outputs


class Int8Linear(nn.Module):
    """One of the layers of `joined`, in the place of a linear layer."""

    def __init__(self, joined: Joined, number: int) -> None:
        super().__init__()
        self.joined = joined
        self.number = number
        if number == 0:  # Of modules it is a part of one.
            self.int8 = joined.weight

    def forward(self, x: Tensor) -> Tensor:
        """[..., K] to [..., N], float32."""
        return self.joined.output(x, self.number)


class Int8Mlp(nn.Module):
    """down(act(gate(x)) * up(x)) without biases, block by block: nothing of it leaves the cache.

    Args:
        gate_up: weights of both, gate first.
        down: those of the last layer. Its columns must be powers of two: they are multiplied into
            the scales of `up`, which costs nothing.
        act: elementwise.
    """

    up_N: Tensor

    def __init__(
        self, gate_up: Int8Weight, down: Int8Weight, act: Callable[[Tensor], Tensor]
    ) -> None:
        super().__init__()
        self.gate_up = gate_up
        self.down = down
        self.act = act
        up_N = gate_up.scale_N[gate_up.parts[1]]
        if down.columns_K is not None:
            up_N = up_N * down.columns_K
            down.columns_K = None
        self.register_buffer("up_N", up_N)

    def forward(self, x: Tensor) -> Tensor:
        """[..., K] to [..., K], float32."""
        _refuse_gradients(x)
        x_MK = x.reshape(-1, x.shape[-1])
        output_MK = torch.empty_like(x_MK)
        for rows in blocks(len(x_MK)):
            sums = self.gate_up.sums(x_MK[rows])
            # A row's own scale is nothing to its rounding, and is multiplied in afterwards.
            last = self.down.sums(self._gated(sums))
            block_BK = last.write(output_MK[rows], 0)
            block_BK.mul_(last.scale_B1.mul_(sums.scale_B1)).mul_(self.down.scale_N)
        return output_MK.view(x.shape)

    def _gated(self, sums: Sums) -> Tensor:
        """act(gate) * up, the latter still in steps of its rows' scales."""
        part = self.gate_up.parts[0]
        gate_BN = sums.scale_B1.new_empty(len(sums.scale_B1), part.stop)
        up_BN = torch.empty_like(gate_BN)
        sums.write(gate_BN, 0).mul_(sums.scale_B1).mul_(self.gate_up.scale_N[part])
        return self.act(gate_BN).mul_(sums.write(up_BN, 1).mul_(self.up_N))


def _refuse_gradients(x: Tensor) -> None:
    if x.requires_grad and torch.is_grad_enabled():
        raise RuntimeError("8-bit layers have no gradients: they would silently be zero")


def blocks(num_rows: int) -> Iterator[slice]:
    """Rows that are computed together."""
    size = _BLOCK * torch.get_num_threads()
    for start in range(0, num_rows, size):
        yield slice(start, start + size)


def _parts(sizes: Sequence[int]) -> Iterator[slice]:
    start = 0
    for size in sizes:
        yield slice(start, start + size)
        start += size
