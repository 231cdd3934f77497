"""The tree engine on the real SmolLM2 and real rows, in float32, against padded batches."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from assay.config import ModelConfig
from assay.data.encoding import EncodedGroup, encode_groups
from assay.data.loading import load_groups
from assay.data.sources import DataSource
from assay.losses import bradley_terry
from assay.model.engine import EngineName
from assay.model.loading import build_for_training
from assay.model.reward_model import RewardModel
from assay.model.rewards import rewards_of_sequences
from assay.train.step import pairs_of

pytestmark = pytest.mark.model

TOLERANCE = 1e-4
PAIRS = 6
TOKENS = 240
"""Of a pair at most, so that 30 layers take seconds."""


@pytest.fixture
def model(smollm: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RewardModel:
    monkeypatch.setenv("ASSAY_CACHE", str(tmp_path))  # Self-checked here, not remembered.
    config = ModelConfig(path=str(smollm))  # type: ignore[call-arg]
    return build_for_training(config, None, seed=7, max_length=512, device="cpu")


def some_pairs(model: RewardModel, path: Path) -> list[EncodedGroup]:
    loaded = load_groups([DataSource(str(path))], limit=60)
    encoded = encode_groups(loaded.groups, model.renderer, max_length=512).groups
    return [group for group in encoded if group.num_tokens <= TOKENS][:PAIRS]


def rewards_and_gradients(
    model: RewardModel, groups: list[EncodedGroup], engine: EngineName
) -> tuple[Tensor, list[Tensor]]:
    model.use_engine(engine)
    model.zero_grad()
    sequences = [ids for group in groups for ids in group.sequences]
    families = [number for number, group in enumerate(groups) for _ in group.sequences]
    reward_R = rewards_of_sequences(model, sequences, max_tokens=4096, families=families)
    loss = bradley_terry(reward_R, pairs_of(groups, "comparison")) / len(groups)
    loss.backward()  # type: ignore[no-untyped-call]
    gradients = [p.grad for p in model.parameters() if p.grad is not None]
    for parameter in model.parameters():
        parameter.grad = None
    return reward_R.detach(), gradients


def test_tree_and_padded_give_the_same_rewards_and_gradient(
    model: RewardModel, shared_data: Callable[[str], Path]
) -> None:
    assert model.engine.name == "tree"
    groups = some_pairs(model, shared_data("hh_harmless.jsonl"))
    assert len(groups) == PAIRS
    padded_R, padded = rewards_and_gradients(model, groups, "padded")
    computed = model.computed.tokens
    tree_R, tree = rewards_and_gradients(model, groups, "tree")
    assert model.computed.tokens - computed < 0.8 * computed, "prompts are computed once"
    assert tree_R.dtype == torch.float32
    assert float((tree_R - padded_R).abs().max()) <= TOLERANCE
    assert float(padded_R.std()) > 1000 * TOLERANCE, "else a mix-up would not be seen"
    assert len(tree) == len(padded) > 200
    gaps = torch.stack([(a - b).norm() for a, b in zip(tree, padded, strict=True)])
    norms = torch.stack([gradient.norm() for gradient in padded])
    assert float(gaps.norm() / norms.norm()) <= TOLERANCE
