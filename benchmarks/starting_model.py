"""The model that a benchmark starts from: a base model with a head drawn from a seed, saved."""

from __future__ import annotations

from pathlib import Path

from assay.config import ModelConfig
from assay.model.loading import build_for_training
from assay.model.saving import save_plain

SMOLLM2 = "smollm2-135m-instruct"
HEAD_SEED = 42


def save_starting_model(base: str, directory: Path, *, max_length: int) -> None:
    """Write `base` as a float32 reward model that was never trained; a head it has is kept."""
    model = build_for_training(
        ModelConfig(path=base), None, seed=HEAD_SEED, max_length=max_length, device="cpu"
    )
    directory.mkdir()
    save_plain(model, directory)
