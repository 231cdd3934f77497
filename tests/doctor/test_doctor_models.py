"""A model without its weights tells what the model with them would."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from assay.config import ModelConfig, TrainConfig
from assay.doctor import computing
from assay.doctor.computing import product_rate
from assay.doctor.models import kept_in_theory, without_weights
from assay.doctor.section import Section
from assay.model.engine import EngineName
from assay.model.loading import build_for_training
from assay.model.reader import reader_for_training
from assay.train.memory import kept_per_token, optimizer_bytes
from tests.conftest import no_metadata

ENGINES: tuple[EngineName, ...] = ("tree", "padded")


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("changes", [{}, {"gradient_checkpointing": True}])
def test_memory_is_told_without_weights(
    tiny_base: Path, engine: EngineName, changes: dict[str, bool]
) -> None:
    config = ModelConfig(path=str(tiny_base))
    real = build_for_training(config, None, seed=0, max_length=256, device="cpu", engine=engine)
    empty = without_weights(tiny_base, reader_for_training(config), no_metadata())
    assert all(parameter.is_meta for parameter in empty.parameters())
    assert [p.shape for p in empty.parameters()] == [p.shape for p in real.parameters()]
    assert optimizer_bytes(empty) == optimizer_bytes(real)
    settings = TrainConfig.model_validate({"max_length": 256} | changes)
    ratio = kept_in_theory(empty, settings, engine) / kept_per_token(real, settings)
    # Torch follows transformers' own attention written out, which keeps a matrix, too.
    assert 0.9 < ratio < (1.1 if engine == "tree" else 1.5)


def test_the_rate_of_products() -> None:
    assert 1e8 < product_rate(torch.device("cpu")) < 1e14


@pytest.mark.parametrize("faster", [True, False])
def test_the_rate_is_that_of_the_library_that_multiplies(
    faster: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[int] = []

    def multiplied(x: torch.Tensor, weight: torch.Tensor, bias: None) -> torch.Tensor:
        calls.append(1)
        return x @ weight.t()

    monkeypatch.setattr(computing, "is_onednn_faster", lambda: faster)
    monkeypatch.setattr(computing, "linear", multiplied)
    monkeypatch.setattr(computing, "_SECONDS", 0.01)
    section = Section("computing")
    computing._say_products(torch.device("cpu"), section)
    assert bool(calls) == faster
    said = {fact.name: fact.value for fact in section.facts}
    assert said["linear layers"] == ("oneDNN" if faster else "torch")
