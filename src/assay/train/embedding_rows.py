"""The gradient of an embedding from the rows that have one.

Torch makes a gradient as large as the embedding for every pass, nearly all of it zeros, and adds it
to the last one: 113 MB a pass for SmolLM2-135M. Here each pass leaves a row for each of its tokens;
after a round they are added up, in memory that is kept from step to step.

Shapes: V words, D width, N tokens of the passes of a round.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from assay.model.reward_model import RewardModel

_number: ContextVar[int] = ContextVar("number of a pack", default=0)


class _Left(NamedTuple):
    """What the backward pass of a pack has left: token ids, and the gradients of their rows."""

    pack: int
    id_N: Tensor
    row_ND: Tensor


@contextmanager
def numbered(pack: int) -> Iterator[None]:
    """Passes within, in this thread, are of the pack of this number in its round."""
    token = _number.set(pack)
    try:
        yield
    finally:
        _number.reset(token)


class EmbeddingRows:
    """Gathers the gradient of a model's embedding of tokens.

    For a plain embedding on the CPU that is trained; of another one torch makes the gradient.
    """

    def __init__(self, model: RewardModel) -> None:
        self._model = model
        self._grad_VD: Tensor | None = None
        self._filled: list[Tensor] = []
        """Rows of it that are not zero, some several times."""

    @contextmanager
    def gathered(self) -> Iterator[None]:
        """Passes within, of one round, leave rows; in the end they are added to the gradient."""
        embedding = _plain_embedding(self._model)
        if embedding is None:
            yield
            return
        left: list[_Left] = []
        vars(embedding)["forward"] = partial(_looked_up, embedding, left)
        try:
            yield
        finally:
            del vars(embedding)["forward"]
        if left:
            self._add_up(embedding.weight, embedding.padding_idx, left)

    @torch.no_grad()
    def _add_up(self, weight_VD: Tensor, padding_id: int | None, left: list[_Left]) -> None:
        left.sort(key=lambda one: one.pack)  # They end in any order, which sums must not depend on.
        id_N = torch.cat([one.id_N for one in left])
        row_ND = torch.cat([one.row_ND for one in left])
        if padding_id is not None:
            row_ND[id_N == padding_id] = 0
        if weight_VD.grad is not None and weight_VD.grad is not self._grad_VD:
            weight_VD.grad.index_add_(0, id_N, row_ND)  # It is used elsewhere, too.
            return
        if weight_VD.grad is None:
            self._clear(weight_VD)
            weight_VD.grad = self._grad_VD
        assert self._grad_VD is not None
        self._grad_VD.index_add_(0, id_N, row_ND)
        self._filled.append(id_N)

    def _clear(self, weight_VD: Tensor) -> None:
        """Begin the gradient of a step."""
        kept = self._grad_VD
        if kept is None or (kept.shape, kept.dtype) != (weight_VD.shape, weight_VD.dtype):
            self._grad_VD = torch.zeros_like(weight_VD)
        else:
            for id_N in self._filled:
                kept[id_N] = 0
        self._filled = []


class _Rows(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, weight_VD: Tensor, ids: Tensor, left: list[_Left]) -> Tensor:
        ctx.ids, ctx.left, ctx.pack = ids, left, _number.get()
        return F.embedding(ids, weight_VD)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[None, None, None]:
        ctx.left.append(_Left(ctx.pack, ctx.ids.flatten(), grad.flatten(0, -2)))
        return None, None, None


def _looked_up(embedding: nn.Embedding, left: list[_Left], ids: Tensor) -> Tensor:
    if not torch.is_grad_enabled():
        return type(embedding).forward(embedding, ids)
    output: Tensor = _Rows.apply(embedding.weight, ids, left)  # type: ignore[no-untyped-call]
    return output


def _plain_embedding(model: RewardModel) -> nn.Embedding | None:
    embedding: nn.Module = model.classifier.get_input_embeddings()
    if type(embedding) is not nn.Embedding or "forward" in vars(embedding):
        return None
    is_plain = embedding.max_norm is None and not (embedding.scale_grad_by_freq or embedding.sparse)
    weight = embedding.weight
    fits = weight.device.type == "cpu" and weight.requires_grad
    return embedding if is_plain and fits else None
