"""What every way of computing tree attention is compared with, and what it is computed on.

The reference is written out here: exponentials times a mask that is made from the paths of the
sequences. Errors are norm-wise, |a - b| / |b|; between ways of summing in float64 they are a few
2^-53, hence 1e-12.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from hypothesis import strategies as st
from torch import Tensor

from assay.data.rendering import TokenIds
from assay.tree.layout import grow
from assay.tree.pack import Layout, Pack

ROUNDING = 1e-12
CPU = torch.device("cpu")

SEQUENCES = st.lists(
    st.lists(st.integers(1, 3), min_size=1, max_size=8).map(tuple), min_size=1, max_size=10
)
HEADS = st.sampled_from([(1, 1), (2, 2), (4, 2), (6, 2), (4, 1)])
WIDTHS = st.sampled_from([1, 3, 8])
SEEDS = st.integers(0, 99)

# System prompt 1 2 3, a question, an answer that goes on where another ends, a sibling of it, and
# an answer to the system prompt alone.
TALK: list[TokenIds] = [(1, 2, 3, 4, 5), (1, 2, 3, 4, 5, 6, 7), (1, 2, 3, 4, 8), (1, 2, 3, 9, 9)]


def layout_of(sequences: Sequence[TokenIds]) -> Layout:
    return Pack.of(sequences, CPU).layout


def sees(sequences: Sequence[TokenIds], window: int | None = None) -> Tensor:
    """Who sees whom, from the sequences alone: what stands before, in any of them."""
    tree = grow(sequences)
    sees_TT = torch.zeros(len(tree.ids), len(tree.ids), dtype=torch.bool)
    for index in range(len(sequences)):
        path = tree.path_index(index)
        for end, row in enumerate(path, 1):
            first = max(0, end - window) if window is not None else 0
            sees_TT[row, path[first:end]] = True
    return sees_TT


@dataclass(frozen=True)
class Inputs:
    """What a layer gives to attention, and a direction for the gradient."""

    q: Tensor
    k: Tensor
    v: Tensor
    slope_THD: Tensor
    scale: float

    @classmethod
    def of(
        cls,
        rows: int,
        heads: tuple[int, int] = (4, 2),
        width: int = 3,
        seed: int = 0,
        dtype: torch.dtype = torch.float64,
    ) -> Inputs:
        """Drawn; logits of a few units, so that weights are neither even nor all on one key.

        Heads and rows are transposed views, as layers make them.
        """
        generator = torch.Generator().manual_seed(seed)

        def draw(heads: int) -> Tensor:
            drawn = torch.randn(1, rows, heads, width, dtype=torch.float64, generator=generator)
            return drawn.to(dtype)

        q, k, v = (draw(n).transpose(1, 2).requires_grad_() for n in (heads[0], *[heads[1]] * 2))
        return cls(q, k, v, draw(heads[0]), 1.5 / width**0.5)

    def run(self, way: Callable[..., Tensor], *others: Tensor) -> list[Tensor]:
        """The output, then its gradients; `others` are further tensors that get one."""
        output = way(self.q, self.k, self.v, *others)
        wanted = (self.q, self.k, self.v, *others)
        return [output.detach(), *torch.autograd.grad(output, wanted, self.slope_THD)]


def written_out(
    sees_TT: Tensor, scale: float, softcap: float | None = None
) -> Callable[..., Tensor]:
    """Attention as its formula; logits are small enough for plain exponentials."""

    def way(q: Tensor, k: Tensor, v: Tensor, sink_H: Tensor | None = None) -> Tensor:
        group = q.shape[1] // k.shape[1]
        k_HTD = torch.stack([k[0, head // group] for head in range(q.shape[1])])
        v_HTD = torch.stack([v[0, head // group] for head in range(q.shape[1])])
        logits = torch.einsum("hqd,hkd->hqk", q[0], k_HTD) * scale
        if softcap is not None:
            logits = softcap * torch.tanh(logits / softcap)
        share = torch.exp(logits) * sees_TT
        total = share.sum(-1, keepdim=True)
        if sink_H is not None:
            total = total + torch.exp(sink_H)[:, None, None]
        return torch.einsum("hqk,hkd->qhd", share / total, v_HTD)[None]

    return way


def check(found: Sequence[Tensor], expected: Sequence[Tensor], bar: float = ROUNDING) -> None:
    for one, other in zip(found, expected, strict=True):
        assert one.shape == other.shape
        # Of a single key the weight is 1: the gradient of its logit is zero, up to rounding.
        assert float((one - other).norm()) <= bar * max(float(other.norm()), 1.0)


def expected_of(
    sequences: Sequence[TokenIds],
    heads: tuple[int, int],
    seed: int,
    window: int | None,
    softcap: float | None,
    sinks: bool,
) -> tuple[Layout, Inputs, tuple[Tensor, ...], list[Tensor]]:
    """A layout, inputs, sinks if asked for, and what attention over them gives by definition."""
    layout = layout_of(sequences)
    given = Inputs.of(layout.num_rows, heads, seed=seed)
    generator = torch.Generator().manual_seed(seed)
    drawn_H = torch.randn(heads[0], dtype=torch.float64, generator=generator).requires_grad_()
    others = (drawn_H,) if sinks else ()
    expected = given.run(written_out(sees(sequences, window), given.scale, softcap), *others)
    return layout, given, others, expected
