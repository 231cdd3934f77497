"""TRL's half of trl_parity.py: train with `RewardTrainer` and write down what every step did.

Runs under the interpreter of TRL's own environment and imports nothing of Assay. The rows are
read in the order of the file, a batch a step; TRL renders and tokenises them itself.

    .venv-trl/bin/python benchmarks/trl_side.py SETTINGS.json OUTPUT.json
"""

from __future__ import annotations

import json
import platform
import sys
import tempfile
import time
from importlib import metadata
from pathlib import Path
from typing import Any

from datasets import Dataset
from torch import Tensor
from transformers import TrainerCallback
from trl import RewardConfig, RewardTrainer


class RecordingTrainer(RewardTrainer):
    """TRL's trainer; the loss of each step is kept as it was computed, not as it is logged."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.losses: list[float] = []

    def compute_loss(self, *args: Any, **options: Any) -> Tensor:
        loss: Tensor = super().compute_loss(*args, **options)
        self.losses.append(loss.item())
        return loss


class StepClock(TrainerCallback):
    """Seconds of each optimizer step: all its batches, clipping and update, no logging."""

    def __init__(self) -> None:
        self.seconds: list[float] = []
        self._began = 0.0

    def on_step_begin(self, *args: Any, **options: Any) -> None:
        self._began = time.perf_counter()

    def on_step_end(self, *args: Any, **options: Any) -> None:
        self.seconds.append(time.perf_counter() - self._began)


class SaveWeights(TrainerCallback):
    """Saves the model after every so many steps, in `DIRECTORY-STEP`."""

    def __init__(self, directory: str, every: int) -> None:
        self._directory = directory
        self._every = every

    def on_step_end(self, _: Any, state: Any, control: Any, *, model: Any, **options: Any) -> None:
        if state.global_step % self._every == 0:
            model.save_pretrained(f"{self._directory}-{state.global_step}")


class KeepLogs(TrainerCallback):
    """Keeps learning rate and gradient norm of each step."""

    def __init__(self) -> None:
        self.steps: list[dict[str, float]] = []

    def on_log(self, *args: Any, logs: dict[str, float], **options: Any) -> None:
        if "loss" in logs:
            self.steps.append(logs)


def main() -> None:
    settings_file, output = map(Path, sys.argv[1:])
    settings = json.loads(settings_file.read_text(encoding="utf-8"))
    with tempfile.TemporaryDirectory(prefix="trl-side-") as scratch:
        result = train(settings, scratch)
    output.write_text(json.dumps(result), encoding="utf-8")


def train(settings: dict[str, Any], scratch: str) -> dict[str, Any]:
    """Losses, learning rates, gradient norms, and the token ids that TRL made of the rows."""
    logs, clock = KeepLogs(), StepClock()
    saving = [SaveWeights(settings["trained"], settings["save_steps"])]
    trainer = RecordingTrainer(
        model=settings["model"],
        args=configuration(settings, scratch),
        train_dataset=Dataset.from_json(settings["rows"], cache_dir=scratch),
        callbacks=[logs, clock, *(saving if settings["save_steps"] else [])],
    )
    prepared = trainer.train_dataset
    ids = [list(prepared["chosen_ids"]), list(prepared["rejected_ids"])]
    trainer.train()
    trainer.save_model(settings["trained"])
    packages = ("trl", "transformers", "torch", "accelerate", "datasets")
    return {
        "losses": trainer.losses,
        "seconds": clock.seconds,
        "learning_rates": [step["learning_rate"] for step in logs.steps],
        "grad_norms": [step["grad_norm"] for step in logs.steps],
        "chosen_ids": ids[0],
        "rejected_ids": ids[1],
        "pad_token": trainer.processing_class.pad_token,
        "dtype": str(trainer.model.dtype),
        "versions": {"python": platform.python_version()}
        | {package: metadata.version(package) for package in packages},
    }


def configuration(settings: dict[str, Any], scratch: str) -> RewardConfig:
    """What both sides train with; everything that TRL would choose otherwise is written out."""
    return RewardConfig(
        output_dir=scratch,
        max_steps=settings["steps"],
        per_device_train_batch_size=settings["batch_size"],
        gradient_accumulation_steps=1,
        train_sampling_strategy="sequential",
        learning_rate=settings["learning_rate"],
        lr_scheduler_type="linear",
        warmup_steps=0,
        weight_decay=0.0,
        adam_beta1=0.9,
        adam_beta2=0.999,
        adam_epsilon=1e-8,
        max_grad_norm=1.0,
        max_length=settings["max_length"],
        bf16=False,
        fp16=False,
        gradient_checkpointing=False,
        disable_dropout=True,
        use_cpu=True,
        logging_steps=1,
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
        seed=0,
    )


if __name__ == "__main__":
    main()
