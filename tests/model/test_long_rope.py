"""Rotary frequencies that depend on the longest sequence of a pass must not reach the others."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from transformers import AutoConfig

from assay.model.engine import ENGINES, EngineName
from assay.model.reward_model import RewardModel
from assay.model.rewards import rewards_of_sequences
from assay.model.twin import twin_of
from tests.conftest import no_metadata

ORIGINAL = 16
NO_READER: Any = None


@pytest.fixture(scope="module")
def model() -> RewardModel:
    config = AutoConfig.for_model(
        "phi3",
        hidden_size=384,
        intermediate_size=512,
        num_attention_heads=4,
        num_key_value_heads=4,
        num_hidden_layers=4,
        pad_token_id=0,
        max_position_embeddings=128,
        original_max_position_embeddings=ORIGINAL,
        rope_parameters={
            "rope_type": "longrope",
            "rope_theta": 10000.0,
            "short_factor": [1.0 + index / 50 for index in range(48)],
            "long_factor": [2.0 + index for index in range(48)],
            "original_max_position_embeddings": ORIGINAL,
        },
    )
    return RewardModel(twin_of(config), NO_READER, no_metadata())


@pytest.mark.parametrize("engine", list(ENGINES))
@torch.no_grad()
def test_a_long_sequence_does_not_move_short_ones(model: RewardModel, engine: EngineName) -> None:
    # A short prompt with a short and a long answer; the bound itself counts as short.
    prompt = tuple(range(1, 11))
    lengths = (1, 4, ORIGINAL - 10, ORIGINAL - 9, 30)
    sequences = [prompt + tuple(range(20, 20 + length)) for length in lengths]
    model.use_engine("padded")
    alone = torch.stack(
        [
            model.classifier(
                input_ids=torch.tensor([ids]), attention_mask=torch.ones(1, len(ids)).long()
            ).logits[0, 0]
            for ids in sequences
        ]
    )
    model.use_engine(engine)
    together = rewards_of_sequences(model, sequences, max_tokens=500, families=[0] * 5)
    assert model.short_length == ORIGINAL
    assert torch.allclose(together, alone, rtol=1e-6, atol=1e-7)
    # The guard is worth something: all in one pass gives other rewards.
    batch = model.engine.batch(sequences, [0] * 5, model.pad_id, model.device)
    assert float((model(batch)[:3] - alone[:3]).abs().max()) > 1e-4
