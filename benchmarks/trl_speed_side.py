"""TRL's half of train_speed.py: time the steps of `RewardTrainer` and count the tokens it computes.

Runs under the interpreter of TRL's own environment and imports nothing of Assay. It trains as
trl_side.py does, so that both benchmarks compare the same mathematics; padding and all else that is
only speed stay as TRL has them by default.

    .venv-trl/bin/python benchmarks/trl_speed_side.py SETTINGS.json OUTPUT.json
"""

from __future__ import annotations

import json
import platform
import statistics
import sys
import tempfile
from importlib import metadata
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset  # type: ignore[import-not-found]
from peft import LoraConfig
from torch import Tensor
from trl_side import RecordingTrainer, StepClock, configuration


class CountingTrainer(RecordingTrainer):
    """Counts the tokens of each batch as the model gets it, padding included."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.padded_tokens: list[int] = []

    def compute_loss(self, model: Any, inputs: dict[str, Tensor], **options: Any) -> Tensor:
        self.padded_tokens.append(inputs["input_ids"].numel())
        return super().compute_loss(model, inputs, **options)


def main() -> None:
    settings_file, output = map(Path, sys.argv[1:])
    settings = json.loads(settings_file.read_text(encoding="utf-8"))
    with tempfile.TemporaryDirectory(prefix="trl-speed-side-") as scratch:
        result = train(settings, scratch)
    output.write_text(json.dumps(result), encoding="utf-8")


def train(settings: dict[str, Any], scratch: str) -> dict[str, Any]:
    """Seconds, loss and padded tokens of each step, and the token ids that TRL made of the rows."""
    clock = StepClock()
    batches = settings["batches_per_step"]
    arguments = configuration(settings, scratch)
    arguments.gradient_accumulation_steps = batches
    trainer = CountingTrainer(
        model=settings["model"],
        args=arguments,
        train_dataset=Dataset.from_json(settings["rows"], cache_dir=scratch),
        callbacks=[clock],
        peft_config=LoraConfig(**settings["lora"]) if settings["lora"] else None,
    )
    ids = [list(trainer.train_dataset[f"{side}_ids"]) for side in ("chosen", "rejected")]
    trainer.train()
    packages = ("trl", "transformers", "torch", "accelerate", "datasets")
    return {
        "seconds": clock.seconds,
        # The step's loss: its batches are of one size.
        "losses": [statistics.fmean(step) for step in chunks(trainer.losses, batches)],
        "padded_tokens": [sum(step) for step in chunks(trainer.padded_tokens, batches)],
        "pairs": list(zip(*ids, strict=True)),
        "dtype": str(trainer.model.dtype),
        "threads": torch.get_num_threads(),
        "optimizer": trainer.args.optim,
        "attention": trainer.model.config._attn_implementation,
        "versions": {"python": platform.python_version()}
        | {package: metadata.version(package) for package in packages},
    }


def chunks(values: list[Any], size: int) -> list[list[Any]]:
    return [values[start : start + size] for start in range(0, len(values), size)]


if __name__ == "__main__":
    main()
