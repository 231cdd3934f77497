"""One point of scale.py in a process of its own: a tiny model, one group of one size.

    python benchmarks/scale_side.py KIND PROMPT_TOKENS ANSWERS ANSWER_TOKENS REPEATS

KIND is `score` (rewards of all answers) or `train` (an optimizer step, every answer compared with
the next one). The group is one pack, whatever its size, so that what grows is the pack and not the
number of passes. Once to warm up, then so many times; answers with one JSON line: the median of the
seconds, and how many bytes the process has held beyond what it held with the model loaded.
"""

from __future__ import annotations

import json
import random
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

import torch

from assay.config import Recipe
from assay.data.encoding import EncodedGroup
from assay.data.records import Comparison, Group, Message, Response, Source
from assay.model.metadata import Metadata
from assay.model.reward_model import RewardModel
from assay.model.rewards import score_sequences
from assay.process import settle
from assay.train.memory import peak_bytes
from assay.train.optimizer import build_optimizer, build_schedule
from assay.train.step import train_step
from assay.train.strategy.single import Single

VOCABULARY = 1024


def main() -> None:
    settle()  # As the commands do.
    kind = sys.argv[1]
    prompt, answers, tokens, repeats = map(int, sys.argv[2:])
    model = tiny_model(prompt + tokens)
    group = group_of(prompt, answers, tokens)
    run = training(model, group) if kind == "train" else scoring(model, group)
    held = peak_bytes(model.device)
    run()
    seconds = []
    for _ in range(repeats):
        began = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - began)
    print(
        json.dumps(
            {
                "seconds": statistics.median(seconds),
                "bytes": peak_bytes(model.device) - held,
                "tree_tokens": prompt + answers * tokens,
            }
        )
    )


def tiny_model(positions: int) -> RewardModel:
    """Four layers of width 64 that read no text, with the tree engine."""
    from transformers import LlamaConfig, LlamaForSequenceClassification

    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=64,
        intermediate_size=176,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=positions,
        pad_token_id=0,
        num_labels=1,
    )
    no_renderer: Any = None
    model = RewardModel(
        LlamaForSequenceClassification(config), no_renderer, Metadata("none", "", "", "text", "")
    )
    model.use_engine("tree")
    return model


def group_of(prompt: int, answers: int, tokens: int) -> EncodedGroup:
    """A prompt with answers that have no token in common."""
    draw = random.Random(0)

    def drawn(count: int) -> tuple[int, ...]:
        return tuple(draw.randrange(512, VOCABULARY) for _ in range(count))

    begun = drawn(prompt)
    group = Group(
        "made",
        Source("made", 1),
        (Message("user", "made"),),
        (Response(()),) * answers,
        tuple(Comparison(number, number + 1, "a") for number in range(answers - 1)),
    )
    # The first token of each answer is its own.
    sequences = tuple((*begun, 1 + number, *drawn(tokens - 1)) for number in range(answers))
    return EncodedGroup(group, sequences)


def scoring(model: RewardModel, group: EncodedGroup) -> Callable[[], object]:
    """The rewards of a group, in one pass."""
    families = [0] * len(group.sequences)

    def run() -> object:
        return score_sequences(
            model, group.sequences, families=families, max_tokens=group.num_tokens
        )

    return run


def training(model: RewardModel, group: EncodedGroup) -> Callable[[], object]:
    """A step on a group, in one pass."""
    recipe = Recipe.model_validate(
        {"model": {"path": "none"}, "data": {"train": "none"}, "output_dir": "none"}
    )
    optimizer = build_optimizer(model.named_parameters(), recipe.train)
    schedule = build_schedule(optimizer, recipe.train, 1000)
    model.train()

    def run() -> object:
        return train_step(Single(model, optimizer), [group], schedule, recipe, group.num_tokens)

    return run


if __name__ == "__main__":
    main()
