"""Which layers of a model need more than 8 bits: found out by what their rounding does to rewards.

The rounding error of a layer, times the gradient of a reward, is how far it moves that reward, to
first order; one pass back through the model says it of all layers at once. What counts is how
differently it moves the rewards of different answers. Layers are given second terms, those first
that gain most for their products, until what is left is small beside the rewards' own spread.

Shapes: A answers of a batch, L tokens of the longest, K inputs, N outputs.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from assay.data.rendering import TokenIds
from assay.model.batch import PaddedBatch, padded_batches
from assay.model.int8.backbone import Choice, Readers
from assay.model.int8.layers import rounded
from assay.model.reward_model import RewardModel

AIM = 0.985
"""Kendall's tau of both precisions that a plan aims at. Between answers that were not planned for
it is a little lower."""
MOST = 1.15
"""Products a weight at most, second terms counted: with two everywhere float32 is as fast."""
_BATCH = 512
"""Padded tokens whose activations are held for the way back."""


@dataclass(frozen=True, slots=True)
class Plan:
    """How each of some readers computes.

    Attributes:
        choices: of each readers.
        products: in multiples of one product a weight.
        error: standard deviation of the rewards' error over that of the rewards, as predicted.
    """

    choices: list[Choice]
    products: float
    error: float

    @property
    def digest(self) -> str:
        """16 hex digits; another plan gives other rewards."""
        found = hashlib.sha256()
        for choice in self.choices:
            columns = None if choice.columns_K is None else choice.columns_K.tolist()
            found.update(f"{choice.terms} {choice.seconds} {columns}\n".encode())
        return found.hexdigest()[:16]


@dataclass(slots=True)
class _Shifts:
    """How far rounding moves each reward: by input and weights with columns, by each weight."""

    smoothed: list[Tensor]
    weights: list[list[Tensor]]


def planned(
    model: RewardModel,
    found: Sequence[Readers],
    sequences: Sequence[TokenIds],
    spread: float,
) -> Plan:
    """Give second terms where rewards need them.

    Args:
        model: in float32 on the CPU.
        found: its layers.
        sequences: of some answers.
        spread: standard deviation of their rewards.
    """
    columns = [readers.columns() for readers in found]
    shifts = [_Shifts([], [[] for _ in readers.layers]) for readers in found]

    def note(kept: Mapping[int, tuple[Tensor, Tensor]]) -> None:
        for readers, columns_K, shift in zip(found, columns, shifts, strict=True):
            of_layers = [kept[id(layer.module)] for layer in readers.layers]
            grads = [_grad(output) for _, output in of_layers]
            _note(readers, columns_K, shift, of_layers[0][0], grads)

    _go_back(
        model, [layer.module for readers in found for layer in readers.layers], sequences, note
    )
    return _chosen(found, columns, shifts, spread)


def _chosen(
    found: Sequence[Readers], columns: Sequence[Tensor], shifts: Sequence[_Shifts], spread: float
) -> Plan:
    bar = (math.pi / 2 * (1 - AIM) * spread) ** 2
    left = [_variance(shift.smoothed) for shift in shifts]
    by_weight = [[_variance(part) for part in shift.weights] for shift in shifts]
    sizes = [[layer.weight_NK.numel() for layer in readers.layers] for readers in found]
    terms, seconds = [1] * len(found), [set[int]() for _ in found]
    products = total = sum(map(sum, sizes))
    while sum(left) > bar:
        steps: list[tuple[float, int, int, int | None]] = []
        for number, readers in enumerate(found):
            if terms[number] == 1:
                gain = left[number] - sum(by_weight[number])
                steps.append((gain / readers.cost, readers.cost, number, None))
                continue
            for index, cost in enumerate(sizes[number]):
                if index not in seconds[number]:
                    steps.append((by_weight[number][index] / cost, cost, number, index))
        steps = [step for step in steps if step[0] > 0 and products + step[1] <= MOST * total]
        if not steps:
            break
        _, cost, number, second = max(steps, key=lambda step: step[0])
        products += cost
        if second is None:
            terms[number] = 2
        else:
            seconds[number].add(second)
        rest = [v for index, v in enumerate(by_weight[number]) if index not in seconds[number]]
        left[number] = sum(rest)
    choices = [
        Choice(count, tuple(sorted(chosen)), columns_K if count == 1 else None)
        for count, chosen, columns_K in zip(terms, seconds, columns, strict=True)
    ]
    return Plan(choices, products / total, math.sqrt(sum(left)) / spread)


def _variance(parts: Sequence[Tensor]) -> float:
    return float(torch.cat(list(parts)).double().var())


def _note(
    readers: Readers, columns_K: Tensor, shift: _Shifts, x_ALK: Tensor, grads: Sequence[Tensor]
) -> None:
    """Add the shifts of a batch."""
    back_ALK = sum(
        (grad @ layer.weight_NK for grad, layer in zip(grads, readers.layers, strict=True)),
        torch.zeros(()),
    )
    error_ALK = _restored(x_ALK * columns_K) / columns_K - x_ALK
    both_A = (back_ALK * error_ALK).sum((1, 2))
    for grad_ALN, layer, parts in zip(grads, readers.layers, shift.weights, strict=True):
        weight_NK = layer.weight_NK
        error_NK = _restored(weight_NK / columns_K) * columns_K - weight_NK
        both_A = both_A + (grad_ALN * (x_ALK @ error_NK.T)).sum((1, 2))
        parts.append((grad_ALN * (x_ALK @ (_restored(weight_NK) - weight_NK).T)).sum((1, 2)))
    shift.smoothed.append(both_A)


def _restored(row_MK: Tensor) -> Tensor:
    """What rows are after rounding."""
    [integers], scale = rounded(row_MK)
    return integers.float().mul_(scale)


def _go_back(
    model: RewardModel,
    modules: Sequence[nn.Module],
    sequences: Sequence[TokenIds],
    note: Callable[[Mapping[int, tuple[Tensor, Tensor]]], None],
) -> None:
    """Show inputs and outputs of modules, the latter with gradients, batch by batch.

    Rows are padded, and no answer shares a token with another: a token's gradient is that of its
    own answer's reward.
    """
    engine, attention = model.engine.name, model.classifier.config._attn_implementation
    model.use_engine("padded")
    try:
        for chosen in padded_batches([len(ids) for ids in sequences], _BATCH):
            batch = PaddedBatch.of([sequences[i] for i in chosen], model.pad_id, model.device)
            with _grad_from_embedding(model), _keeping(modules) as kept:
                model(batch).sum().backward()
            with torch.no_grad():
                note(kept)
    finally:
        model.use_engine(engine)
        if model.classifier.config._attn_implementation != attention:
            model.classifier.set_attn_implementation(attention)


def _grad(output: Tensor) -> Tensor:
    return torch.zeros_like(output) if output.grad is None else output.grad


@contextmanager
def _keeping(modules: Sequence[nn.Module]) -> Iterator[dict[int, tuple[Tensor, Tensor]]]:
    """Input and output of modules, the latter with its gradient."""
    kept: dict[int, tuple[Tensor, Tensor]] = {}

    def hook(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        output.retain_grad()
        kept[id(module)] = inputs[0].detach(), output

    with ExitStack() as hooks:
        for module in modules:
            hooks.enter_context(module.register_forward_hook(hook))
        yield kept


@contextmanager
def _grad_from_embedding(model: RewardModel) -> Iterator[None]:
    """Gradients of what comes behind the embedding, and of no weight."""
    wanted = [weight for weight in model.parameters() if weight.requires_grad]
    for weight in wanted:
        weight.requires_grad_(False)
    detached = model.classifier.get_input_embeddings().register_forward_hook(
        lambda module, inputs, output: output.detach().requires_grad_()
    )
    try:
        with detached, torch.inference_mode(False), torch.enable_grad():
            yield
    finally:
        for weight in wanted:
            weight.requires_grad_(True)
