"""Assay's half of gpu.py: time steps of one cell of the grid.

The steps are those of `assay train` without its data pipeline, checkpoints and logs: groups packed
by the engine, a group larger than a pack computed in several, the loss divided by the batch's
comparisons, gradients clipped, fused AdamW.

    python benchmarks/gpu_assay_side.py SETTINGS.json OUTPUT.json
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from gpu_shapes import LEARNING_RATE, Cell, Group, build, groups_of, peak_bytes, synchronised
from torch import Tensor
from torch.nn import functional as F

from assay.model.ladder import choose_engine
from assay.model.metadata import Metadata
from assay.model.reward_model import RewardModel
from assay.model.rewards import rewards_of_sequences
from assay.train.split import backward_in_packs


def main() -> None:
    settings_file, output = map(Path, sys.argv[1:])
    settings = json.loads(settings_file.read_text(encoding="utf-8"))
    try:
        result = train(settings, Cell(**settings["cell"]))
    except torch.OutOfMemoryError:
        result = {"out_of_memory": True}
    output.write_text(json.dumps(result), encoding="utf-8")


def train(settings: dict[str, Any], cell: Cell) -> dict[str, Any]:
    device, steps = settings["device"], settings["warm"] + settings["steps"]
    no_reader: Any = None
    inner = build(settings, cell.mode, "sdpa")
    model = RewardModel(inner, no_reader, Metadata("none", "", "", "text", ""))
    if settings["dtype"] != "float32":
        model.compute_dtype = getattr(torch, settings["dtype"])
    choose_engine(model)
    model.train()
    trained = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=LEARNING_RATE, weight_decay=0.0, fused=True)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 - step / steps)
    seconds, losses, tokens = [], [], []
    for step in range(steps):
        groups = groups_of(cell, step, settings["config"]["vocab_size"])
        before = model.computed.tokens
        synchronised(device)
        began = time.perf_counter()
        losses.append(one_step(model, cell, groups, settings["budget"]))
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
        synchronised(device)
        seconds.append(time.perf_counter() - began)
        tokens.append(model.computed.tokens - before)
    return {
        "seconds": seconds,
        "losses": losses,
        "computed_tokens": tokens,
        "peak_bytes": peak_bytes(device),
        "engine": model.engine.name,
        "attention": model.classifier.config._attn_implementation,
    }


def one_step(model: RewardModel, cell: Cell, groups: Sequence[Group], budget: int) -> float:
    """Add the gradient of a step's loss; the loss."""
    total = 0.0
    for chosen in model.engine.pack(groups, budget):
        sequences = [ids for index in chosen for ids in groups[index]]
        if model.engine.cost(sequences) > budget:
            _, loss = backward_in_packs(model, sequences, lambda r: loss_of(r, cell), budget)
        else:
            families = [index for index in chosen for _ in groups[index]]
            reward_R = rewards_of_sequences(model, sequences, max_tokens=budget, families=families)
            loss = loss_of(reward_R, cell)
            loss.backward()  # type: ignore[no-untyped-call]
        total += float(loss.detach())
    return total


def loss_of(reward_R: Tensor, cell: Cell) -> Tensor:
    """Bradley and Terry's loss of neighbours, the first of them better; a part of the step's."""
    better_C, worse_C = reward_R.view(-1, 2).unbind(1)
    return -F.logsigmoid(better_C - worse_C).sum() / cell.pairs


if __name__ == "__main__":
    main()
