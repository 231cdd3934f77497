"""TRL's half of gpu.py: time steps of `RewardTrainer` on one cell of the grid.

Runs under the interpreter of TRL's own environment and imports nothing of Assay. Rows come as token
ids, which the trainer takes; attention is FlashAttention where flash-attn is installed there, else
torch's.

    .venv-trl/bin/python benchmarks/gpu_trl_side.py SETTINGS.json OUTPUT.json
"""

from __future__ import annotations

import json
import platform
import statistics
import sys
import tempfile
import time
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset  # type: ignore[import-not-found]
from gpu_shapes import LEARNING_RATE, PAD, Cell, build, groups_of, peak_bytes, synchronised
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from transformers import PreTrainedTokenizerFast, TrainerCallback
from trl import RewardConfig, RewardTrainer  # type: ignore[import-not-found]


class Clock(TrainerCallback):  # type: ignore[misc]
    """Seconds of each step, all of its batches, clipping and update, once the GPU has done them."""

    def __init__(self, device: str) -> None:
        self.seconds: list[float] = []
        self._device, self._began = device, 0.0

    def on_step_begin(self, *args: Any, **options: Any) -> None:
        synchronised(self._device)
        self._began = time.perf_counter()

    def on_step_end(self, *args: Any, **options: Any) -> None:
        synchronised(self._device)
        self.seconds.append(time.perf_counter() - self._began)


class Recording(RewardTrainer):  # type: ignore[misc]
    """Keeps the loss and the tokens of each batch; losses stay on the device until the end."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.losses: list[Any] = []
        self.tokens: list[int] = []

    def compute_loss(self, model: Any, inputs: dict[str, Any], **options: Any) -> Any:
        self.tokens.append(inputs["input_ids"].numel())
        loss = super().compute_loss(model, inputs, **options)
        self.losses.append(loss.detach())
        return loss


def main() -> None:
    settings_file, output = map(Path, sys.argv[1:])
    settings = json.loads(settings_file.read_text(encoding="utf-8"))
    with tempfile.TemporaryDirectory(prefix="gpu-trl-side-") as scratch:
        try:
            result = train(settings, Cell(**settings["cell"]), scratch)
        except torch.OutOfMemoryError:
            result = {"out_of_memory": True}
    packages = ("trl", "transformers", "torch", "accelerate", "peft")
    result["versions"] = {"python": platform.python_version()} | {
        package: metadata.version(package) for package in packages
    }
    output.write_text(json.dumps(result), encoding="utf-8")


def train(settings: dict[str, Any], cell: Cell, scratch: str) -> dict[str, Any]:
    device, steps = settings["device"], settings["warm"] + settings["steps"]
    flash = device != "cpu" and find_spec("flash_attn") is not None
    attention = "flash_attention_2" if flash else "sdpa"
    rows: dict[str, list[list[int]]] = {"chosen_ids": [], "rejected_ids": []}
    for step in range(steps):
        for group in groups_of(cell, step, settings["config"]["vocab_size"]):
            rows["chosen_ids"] += map(list, group[::2])
            rows["rejected_ids"] += map(list, group[1::2])
    batch = batch_size(cell, settings["budget"])
    clock = Clock(device)
    trainer = Recording(
        model=build(settings, cell.mode, attention),
        args=arguments(settings, cell, batch, steps, scratch),
        train_dataset=Dataset.from_dict(rows),
        processing_class=padding_only(),
        callbacks=[clock],
    )
    trainer.train()
    batches = cell.pairs // batch
    losses = [float(loss) for loss in trainer.losses]
    return {
        "seconds": clock.seconds,
        "losses": [
            statistics.fmean(losses[at : at + batches]) for at in range(0, len(losses), batches)
        ],
        "computed_tokens": [
            sum(trainer.tokens[at : at + batches]) for at in range(0, len(losses), batches)
        ],
        "peak_bytes": peak_bytes(device),
        "attention": trainer.model.config._attn_implementation,
        "batch_size": batch,
    }


def batch_size(cell: Cell, budget: int) -> int:
    """Pairs in a batch: the largest power of 2 within the budget and the step."""
    most = max(1, budget // (2 * (cell.prompt + cell.response)))
    return min(1 << (most.bit_length() - 1), cell.pairs)


def padding_only() -> PreTrainedTokenizerFast:
    """A tokenizer that reads nothing: the rows are token ids."""
    words = Tokenizer(WordLevel({"<pad>": PAD, "<end>": PAD + 1}, unk_token="<end>"))
    return PreTrainedTokenizerFast(tokenizer_object=words, pad_token="<pad>", eos_token="<end>")


def arguments(
    settings: dict[str, Any], cell: Cell, batch: int, steps: int, scratch: str
) -> RewardConfig:
    return RewardConfig(
        output_dir=scratch,
        max_steps=steps,
        per_device_train_batch_size=batch,
        gradient_accumulation_steps=cell.pairs // batch,
        train_sampling_strategy="sequential",
        learning_rate=LEARNING_RATE,
        lr_scheduler_type="linear",
        warmup_steps=0,
        weight_decay=0.0,
        max_grad_norm=1.0,
        optim="adamw_torch_fused",
        max_length=None,
        bf16=settings["dtype"] == "bfloat16",
        fp16=False,
        gradient_checkpointing=settings["checkpointing"],
        disable_dropout=True,
        use_cpu=settings["device"] == "cpu",
        logging_strategy="no",
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
        seed=0,
    )


if __name__ == "__main__":
    main()
