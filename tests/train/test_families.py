"""Two optimizer steps of every family: what `auto` computes with against each sequence by itself.

On float64 twins. The one side is what a run does: the engine that `auto` chooses, packs, several
groups in a pack and several packs in a step. The other is transformers' own classifier, one
sequence at a time, a loss that is written out, and torch's own AdamW and clipping: no code of ours.

Most families take norms, softmax and rotary angles in float32 whatever their weights are, which
alone moves a weight by 1e-7 in two steps. So float32 means float64 here, for both sides: what is
left are the orders of sums. Adam divides a gradient by its own size, and its epsilon is large here:
else the last bits of a gradient that is zero would become whole steps.
"""

from __future__ import annotations

import random
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from assay.config import Recipe
from assay.data.encoding import EncodedGroup
from assay.data.records import Comparison, Group, Message, Response, Source
from assay.data.rendering import TokenIds
from assay.model.ladder import choose_engine
from assay.model.metadata import Metadata
from assay.model.reward_model import RewardModel
from assay.model.twin import twin_of
from assay.train.optimizer import build_optimizer, build_schedule
from assay.train.step import train_step
from assay.train.strategy.single import Single

sys.path.append(str(Path(__file__).parents[1] / "model"))
from families import FALLBACK, OBSTACLES, PACKABLE, small_config

pytestmark = pytest.mark.slow

EXACT = 1e-8
STEPS, RATE, EPSILON, CLIP = 2, 1e-2, 1e-3, 0.5
BUDGET = 60
NO_READER: Any = None
"""No text is read by the models here."""


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """More of them only wait for each other where all is so small."""
    held = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(held)


@contextmanager
def all_in_float64() -> Iterator[None]:
    """What names float32 gets float64."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch, "float32", torch.float64)
        patch.setattr(torch, "float", torch.float64)
        patch.setattr(Tensor, "float", Tensor.double)
        yield


def batch(step: int) -> list[EncodedGroup]:
    """Three groups: of two, three and two responses, with a tie, a margin and weights."""
    draw = random.Random(step)

    def tokens(count: int) -> TokenIds:
        return tuple(draw.randrange(1, 99) for _ in range(count))

    found = []
    for number, lengths in enumerate(((5, 9), (1, 12, 7), (4, 3))):
        prompt = tokens(14 - 3 * number)
        pairs = [(0, 1, "ab"[number % 2])] + ([(1, 2, "tie"), (0, 2, "a")] if number == 1 else [])
        comparisons = tuple(
            Comparison(a, b, outcome, weight=1.0 + number / 2)  # type: ignore[arg-type]
            for a, b, outcome in pairs
        )
        group = Group(
            "id",
            Source("rows.jsonl", 1 + number),
            (Message("user", "?"),),
            tuple(Response(()) for _ in lengths),
            comparisons,
        )
        found.append(EncodedGroup(group, tuple(prompt + tokens(count) for count in lengths)))
    return found


def recipe() -> Recipe:
    settings = {
        "learning_rate": RATE,
        "lr_scheduler_type": "constant",
        "warmup_ratio": 0.0,
        "adam_epsilon": EPSILON,
        "weight_decay": 0.1,
        "max_grad_norm": CLIP,
        "max_length": BUDGET,
        "max_tokens_per_pack": BUDGET,
        "global_batch_size": 3,
    }
    return Recipe.model_validate(
        {"model": {"path": "."}, "data": {"train": "."}, "train": settings, "output_dir": "."}
    )


def model_of(family: str) -> RewardModel:
    metadata = Metadata("none", "", "", "text", "")
    return RewardModel(twin_of(small_config(family)), NO_READER, metadata)


def ours(model: RewardModel) -> list[float]:
    """Two steps as a run makes them; returns their losses."""
    checked = recipe()
    model.train()
    optimizer = build_optimizer(model.named_parameters(), checked.train)
    schedule = build_schedule(optimizer, checked.train, STEPS)
    results = [
        train_step(Single(model, optimizer), batch(step), schedule, checked, BUDGET)
        for step in range(STEPS)
    ]
    assert all(result.num_packs > 1 for result in results)
    assert max(result.grad_norm for result in results) > CLIP, "clipping is a part of it"
    return [result.loss for result in results]


def separately(classifier: Any) -> list[float]:
    """The same two steps, each sequence a forward pass of transformers'."""
    classifier.train()
    # Biases of experts are matrices, one row for each.
    still = {name for name, p in classifier.named_parameters() if p.ndim <= 1 or "bias" in name}
    matrices = [p for name, p in classifier.named_parameters() if name not in still]
    others = [p for name, p in classifier.named_parameters() if name in still]
    optimizer = torch.optim.AdamW(
        [{"params": matrices, "weight_decay": 0.1}, {"params": others, "weight_decay": 0.0}],
        lr=RATE,
        eps=EPSILON,
    )
    losses = []
    for step in range(STEPS):
        optimizer.zero_grad()
        total, weights = torch.zeros((), dtype=torch.float64), 0.0
        for group in batch(step):
            rewards = [reward_of(classifier, ids) for ids in group.sequences]
            for comparison in group.comparisons:
                gap = rewards[comparison.a] - rewards[comparison.b]
                wins, loses = F.softplus(-gap), F.softplus(gap)
                loss = {"a": wins, "b": loses, "tie": (wins + loses) / 2}[comparison.outcome]
                total = total + comparison.weight * loss
                weights += comparison.weight
        loss = total / weights
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(classifier.parameters(), CLIP)
        optimizer.step()
        losses.append(loss.item())
    return losses


def reward_of(classifier: Any, ids: TokenIds) -> Tensor:
    ids_1L = torch.tensor([ids])
    reward: Tensor = classifier(
        input_ids=ids_1L, attention_mask=torch.ones_like(ids_1L), use_cache=False
    ).logits[0, 0]
    return reward


def weights(module: Any) -> list[Tensor]:
    return [parameter.detach().clone() for parameter in module.parameters()]


def distance(found: list[Tensor], expected: list[Tensor]) -> float:
    """Relative, of the parameter that is worst."""
    pairs = zip(found, expected, strict=True)
    return max(float((a - b).norm() / b.norm()) for a, b in pairs)


@pytest.mark.parametrize("family", [*PACKABLE, *FALLBACK])
def test_two_steps_are_those_of_sequences_by_themselves(family: str) -> None:
    model, reference = model_of(family), model_of(family).classifier
    before = weights(reference)
    choose_engine(model)
    assert model.engine.name == ("tree" if family in PACKABLE else "padded")
    assert model.engine_reason == OBSTACLES.get(family)
    with all_in_float64():
        losses, expected = ours(model), separately(reference)
    assert losses == pytest.approx(expected, rel=EXACT)
    assert distance(weights(model.classifier), weights(reference)) <= EXACT
    assert distance(before, weights(reference)) > 1e-3, "else the bar would prove nothing"
