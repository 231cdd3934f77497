"""Three processes that evaluate one data set together; on gloo, on the CPU."""

from __future__ import annotations

import os
from multiprocessing.queues import Queue
from pathlib import Path
from typing import Any

import torch

from assay.config import Recipe
from assay.data.encoding import EncodedData, encode_groups
from assay.data.loading import load_groups
from assay.data.sources import DataSource
from assay.evaluate import evaluator
from assay.model.loading import load_reward_model
from assay.model.reward_model import RewardModel
from assay.train.finishing import evaluate_all
from assay.train.log import Silence
from assay.train.optimizer import build_optimizer
from assay.train.strategy.choosing import wrap
from assay.train.strategy.team import team

SIZE = 3
WINDOW = 3
"""Of groups: ten make four windows, which three processes cannot share evenly."""


def data_of(model: RewardModel, rows: Path) -> EncodedData:
    groups = load_groups([DataSource(str(rows))]).groups
    return encode_groups(groups, model.renderer, max_length=256)


def evaluate(rank: int, port: int, directory: Path, rows: Path, results: Queue[Any]) -> None:
    """One of the processes: the metrics that it would log."""
    torch.set_num_threads(1)
    vars(evaluator)["_WINDOW"] = WINDOW
    os.environ |= {
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
        "WORLD_SIZE": str(SIZE),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
    }
    settings = Recipe.model_validate(
        {
            "model": {"path": str(directory)},
            "data": {"train": str(rows)},
            "train": {"strategy": "ddp", "device": "cpu"},
            "output_dir": "unused",
        }
    ).train
    with team("cpu") as joined:
        model = load_reward_model(str(directory))
        strategy = wrap(
            model,
            lambda: build_optimizer(model.named_parameters(), settings),
            settings,
            joined,
            torch.device("cpu"),
        )
        before = model.computed.passes
        found = evaluate_all(strategy, [("e", data_of(model, rows))], 1, Silence(), 2048)
        results.put((rank, model.computed.passes - before, found["e"]))
