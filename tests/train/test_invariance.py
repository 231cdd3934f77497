"""Training is the same whatever is computed together: budget of a pack, order, engine.

Over 40 steps of AdamW on a float64 twin. In float32 AdamW turns the last bits of a small gradient
into a whole step, so that two right runs drift apart: there, the first gradient is compared. Rows
are the bundled sample's, read with a toy tokenizer of words, for a twin knows few tokens.
"""

from __future__ import annotations

import copy
import functools
import json
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_runs import recipe, write_lines
from torch import Tensor

from assay.data.encoding import EncodedGroup
from assay.data.loading import load_groups
from assay.data.records import Group
from assay.data.rendering import TokenIds
from assay.data.sources import DataSource
from assay.model.engine import EngineName
from assay.model.reward_model import RewardModel
from assay.model.twin import twin_of
from assay.train.optimizer import build_optimizer, build_schedule
from assay.train.plan import Plan
from assay.train.step import StepResult, train_step
from assay.train.strategy.single import Single
from tests.conftest import no_metadata

pytestmark = pytest.mark.slow

SAME, SAME_IN_FLOAT32 = 1e-6, 1e-5
STEPS, BATCH, GROUPS = 40, 8, 24

NO_READER: Any = None
"""Renderer and metadata: no text is read by the model here."""


@dataclass(frozen=True)
class Run:
    """How the steps are computed; none of it may matter."""

    engine: EngineName = "tree"
    max_tokens: int = 1024
    turned: bool = False
    checkpointing: bool = False

    def __str__(self) -> str:
        order = ", groups in another order" if self.turned else ""
        again = ", checkpointing" if self.checkpointing else ""
        return f"{self.engine} {self.max_tokens}{order}{again}"


PLAIN = Run()
SPLIT = 150
"""A budget below most groups."""
OTHERS = [
    Run(max_tokens=256),
    Run(max_tokens=8192),
    Run(max_tokens=SPLIT),
    Run(turned=True),
    Run(checkpointing=True),
    Run("packed"),
    Run("padded"),
]
every_other_run = pytest.mark.parametrize("run", OTHERS, ids=str)


@pytest.fixture(scope="module")
def groups(tmp_path_factory: pytest.TempPathFactory) -> list[EncodedGroup]:
    """24 groups of two, three and four responses; a tie and a weight among them."""
    import assay.data

    sample = Path(assay.data.__file__).with_name("sample") / "values.train.jsonl"
    lines = [json.loads(line) for line in sample.read_text(encoding="utf-8").splitlines()]
    english = [line for line in lines if line["prompt"].isascii()]
    prompts = list(dict.fromkeys(line["prompt"] for line in english))[: GROUPS + 1]
    by_prompt = [[line for line in english if line["prompt"] == prompt] for prompt in prompts]
    rows = []
    for number, (own, following) in enumerate(pairwise(by_prompt)):
        rows += own[: 1 + number % 4]
        if number % 4 == 3:  # A fourth answer, to another question.
            rows.append(own[0] | {"neg_resp": following[0]["neg_resp"]})
    path = write_lines(tmp_path_factory.mktemp("rows") / "rows.jsonl", rows)
    loaded = load_groups([DataSource(str(path))]).groups
    history = [words_of(row["prompt"] + row["pos_resp"]) for (row, *_) in by_prompt[1:]]
    encoded = [
        EncodedGroup(group, sequences_of(group, before))
        for group, before in zip(loaded, history, strict=True)
    ]
    assert len(encoded) == GROUPS
    assert {len(group.sequences) for group in encoded} == {2, 3, 4}
    first = encoded[0].group
    comparisons = tuple(replace(c, weight=2.5) for c in first.comparisons)
    encoded[0] = replace(encoded[0], group=replace(first, comparisons=comparisons))
    second = encoded[1].group
    tie = replace(second.comparisons[0], outcome="tie")
    changed = replace(second, comparisons=(tie, *second.comparisons[1:]))
    return [encoded[0], replace(encoded[1], group=changed), *encoded[2:]]


def words_of(text: str) -> TokenIds:
    """Words as tokens, each some number from 1 to 98."""
    return tuple(1 + zlib.crc32(word.encode()) % 98 for word in text.split())


def sequences_of(group: Group, history: TokenIds) -> tuple[TokenIds, ...]:
    """Another question with its answer as earlier turns, then this group's."""
    prompt = " ".join(message.content for message in group.prompt)
    return tuple(
        history + words_of(f"{prompt} {answer.messages[0].content}") for answer in group.responses
    )


@functools.cache
def twin() -> Any:
    from transformers import LlamaConfig

    return twin_of(LlamaConfig(hidden_size=64, num_hidden_layers=2, num_attention_heads=4))


def build(run: Run, dtype: torch.dtype = torch.float64) -> RewardModel:
    model = RewardModel(copy.deepcopy(twin()).to(dtype), NO_READER, no_metadata())
    model.use_engine(run.engine)
    if run.checkpointing:
        model.classifier.activation_checkpointing_enable({"use_reentrant": False})
    return model.train()


def weights(model: RewardModel) -> Tensor:
    return torch.cat([p.detach().flatten().clone() for p in model.parameters()])


def distance(found: Tensor, expected: Tensor) -> float:
    return float((found - expected).norm() / expected.norm())


@dataclass
class Trained:
    """The update of all weights after the last step, and what each step said."""

    update: Tensor
    results: list[StepResult] = field(default_factory=list)

    @property
    def losses(self) -> Tensor:
        return torch.tensor([result.loss for result in self.results], dtype=torch.float64)


def train(groups: Sequence[EncodedGroup], run: Run) -> Trained:
    model = build(run)
    settings = recipe(Path("m"), Path("t"), Path("o"), learning_rate=1e-3, weight_decay=0.01)
    plan = Plan.of(GROUPS, BATCH, settings.train.seed, 1, STEPS)
    optimizer = build_optimizer(model.named_parameters(), settings.train)
    schedule = build_schedule(optimizer, settings.train, STEPS)
    before, results = weights(model), []
    for step in range(STEPS):
        batch = [groups[index] for index in plan.groups_of(step)]
        batch = batch[::-1] if run.turned else batch
        results.append(
            train_step(Single(model, optimizer), batch, schedule, settings, run.max_tokens)
        )
    return Trained(weights(model) - before, results)


@pytest.fixture(scope="module")
def plain(groups: list[EncodedGroup]) -> Trained:
    return train(groups, PLAIN)


@pytest.mark.slow
@every_other_run
def test_forty_steps_make_one_update(groups: list[EncodedGroup], plain: Trained, run: Run) -> None:
    found = train(groups, run)
    assert distance(found.update, plain.update) <= SAME
    assert float(((found.losses - plain.losses) / plain.losses).abs().max()) <= SAME
    check_that_it_was_computed_otherwise(found, plain, run)
    for ours, theirs in zip(found.results, plain.results, strict=True):
        assert ours.wins == theirs.wins
        assert ours.num_comparisons == theirs.num_comparisons
        assert ours.num_tokens == theirs.num_tokens
        assert ours.grad_norm == pytest.approx(theirs.grad_norm, rel=10 * SAME)


def check_that_it_was_computed_otherwise(found: Trained, plain: Trained, run: Run) -> None:
    packs, plain_packs = (
        sum(result.num_packs for result in each.results) for each in (found, plain)
    )
    computed, plain_computed = (
        sum(result.num_computed_tokens for result in each.results) for each in (found, plain)
    )
    assert plain_packs > STEPS  # Not one pack a step.
    if run.max_tokens < PLAIN.max_tokens:
        assert packs > plain_packs
    if run.max_tokens > PLAIN.max_tokens:
        assert packs == STEPS
    assert (sum(result.num_split_groups for result in found.results) > STEPS) == (
        run.max_tokens == SPLIT
    )
    if run.engine != "tree":
        assert computed > 1.2 * plain_computed


@pytest.mark.slow
def test_training_moves_the_model(plain: Trained) -> None:
    # Else equal updates would prove nothing.
    losses = plain.losses
    assert float(losses[-3:].mean()) < 0.67 * float(losses[:3].mean())
    assert float(plain.update.norm()) > 0.1


@pytest.mark.slow
def test_one_comparison_turned_round_is_far_above_the_bar(
    groups: list[EncodedGroup], plain: Trained
) -> None:
    first, *others = groups
    turned = [replace(c, a=c.b, b=c.a) for c in first.comparisons]
    changed = EncodedGroup(replace(first.group, comparisons=tuple(turned)), first.sequences)
    assert distance(train([changed, *others], PLAIN).update, plain.update) > 1000 * SAME


def first_gradient(groups: Sequence[EncodedGroup], run: Run, dtype: torch.dtype) -> Tensor:
    """Of the first step, before clipping."""
    model = build(run, dtype)
    settings = recipe(Path("m"), Path("t"), Path("o"), max_grad_norm=1e9)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.0)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1.0)
    batch = groups[:BATCH][::-1] if run.turned else groups[:BATCH]
    train_step(Single(model, optimizer), batch, schedule, settings, run.max_tokens)
    return torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])


@every_other_run
def test_in_float32_the_first_gradient_is_the_same(groups: list[EncodedGroup], run: Run) -> None:
    found = first_gradient(groups, run, torch.float32)
    assert found.dtype == torch.float32
    assert distance(found, first_gradient(groups, PLAIN, torch.float32)) <= SAME_IN_FLOAT32
    exact = first_gradient(groups, PLAIN, torch.float64)
    assert distance(found.double(), exact) <= SAME_IN_FLOAT32
