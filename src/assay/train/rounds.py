"""Which packs of a step run at the same time, and how their gradients are summed.

Where two passes may run side by side (`assay.model.lanes`), a pack is cut into halves, if together
they cost what the whole does. Sums of two numbers do not depend on their order, sums of three do:
so the gradients of a round are summed by themselves, and then added to what was there.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from torch import nn

from assay.data.encoding import EncodedGroup
from assay.model.lanes import FEWEST_TOKENS, LANES, MOST_OF_WHOLE, lanes_of
from assay.train.strategy.single import Strategy
from assay.tree.packing import halved

Round = Sequence[Sequence[int]]
"""Packs that run at the same time: indices of their groups."""


def rounds_of(strategy: Strategy, groups: Sequence[EncodedGroup], max_tokens: int) -> list[Round]:
    """The packs of a step; this process is to make some of their rounds (`Strategy.own`)."""
    engine = strategy.model.engine
    packs = engine.pack([group.sequences for group in groups], max_tokens)
    if not strategy.is_alone or lanes_of(strategy.model) < LANES:
        return [[pack] for pack in packs]

    def cost(pack: Sequence[int]) -> int:
        return engine.cost([ids for index in pack for ids in groups[index].sequences])

    rounds: list[Round] = []
    for pack in packs:
        parts = halved([cost([index]) for index in pack])
        halves = [[pack[item] for item in part] for part in parts]
        costs = [cost(half) for half in halves]
        worth = min(costs) >= FEWEST_TOKENS and max(costs) * LANES <= MOST_OF_WHOLE * cost(pack)
        rounds.append(halves if worth else [pack])
    return rounds


@contextmanager
def summed_apart(model: nn.Module) -> Iterator[None]:
    """Add the gradients that are made within to those that were there, when all are made."""
    before = [(p, p.grad) for p in model.parameters() if p.grad is not None]
    for parameter, _ in before:
        parameter.grad = None
    try:
        yield
    finally:
        for parameter, grad in before:
            if parameter.grad is not None:
                grad += parameter.grad
            parameter.grad = grad
