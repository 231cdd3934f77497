"""What a fixed training step and a fixed scoring cost, counted and not timed.

A small model with fixed ids does one step and scores once with each engine. Counted are the tokens
that went through the layers, the forward passes, floating-point operations of matrix products and
attention, calls of each operator of torch, and the new memory that operators gave their results.
All of it is the same on every machine, linear layers being torch's own here. `counted_work.json`
keeps it;

    python tests/train/counted_work.py

counts again, prints what has changed and writes the file: the change is then part of the commit.
"""

from __future__ import annotations

import json
import random
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

from assay.config import Recipe
from assay.data.encoding import EncodedGroup
from assay.data.records import Comparison, Group, Message, Response, Source
from assay.data.rendering import TokenIds
from assay.model import products
from assay.model.engine import ENGINES, EngineName
from assay.model.metadata import Metadata
from assay.model.reward_model import RewardModel
from assay.model.rewards import score_sequences
from assay.train.optimizer import build_optimizer, build_schedule
from assay.train.step import train_step
from assay.train.strategy.single import Single

STORED = Path(__file__).with_name("counted_work.json")
MAX_TOKENS = 300
"""Of a pack: no group is larger, and only the tree holds all three."""
LAYERS, WIDTH, INNER, HEADS, KEY_HEADS, HEAD_WIDTH, VOCABULARY = 3, 32, 88, 4, 2, 8, 128

Work = dict[str, Any]


def sequences_of_groups() -> list[list[TokenIds]]:
    """Three prompts under one system prompt of 40 tokens, with four, two and two answers."""
    chance = random.Random(0)

    def tokens(count: int) -> TokenIds:
        return tuple(chance.randrange(10, VOCABULARY) for _ in range(count))

    system = tokens(40)
    shapes = ((20, (9, 14, 6, 17)), (31, (12, 8)), (11, (15, 16)))
    groups = []
    for number, (prompt, answers) in enumerate(shapes):
        begun = (*system, number, *tokens(prompt))
        groups.append([(*begun, n, *tokens(count)) for n, count in enumerate(answers)])
    return groups


def encoded_groups() -> list[EncodedGroup]:
    """The same as training takes them, every answer against the next."""
    found = []
    for line, sequences in enumerate(sequences_of_groups(), start=1):
        comparisons = tuple(Comparison(n, n + 1, "a") for n in range(len(sequences) - 1))
        group = Group(
            str(line),
            Source("made", line),
            (Message("user", f"question {line}"),),
            (Response(()),) * len(sequences),
            comparisons,
        )
        found.append(EncodedGroup(group, tuple(sequences)))
    return found


def small_model(engine: EngineName) -> RewardModel:
    """A random Llama with grouped heads that reads no text."""
    from transformers import LlamaConfig, LlamaForSequenceClassification

    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=WIDTH,
        intermediate_size=INNER,
        num_hidden_layers=LAYERS,
        num_attention_heads=HEADS,
        num_key_value_heads=KEY_HEADS,
        head_dim=HEAD_WIDTH,
        max_position_embeddings=256,
        pad_token_id=9,
        num_labels=1,
    )
    no_renderer: Any = None
    model = RewardModel(
        LlamaForSequenceClassification(config), no_renderer, Metadata("none", "", "", "text", "")
    )
    with patch.object(products, "is_onednn_faster", return_value=False):
        model.use_engine(engine)
    return model


def prepared(kind: str, engine: EngineName) -> tuple[RewardModel, Callable[[], object]]:
    """A model, and what it is to do; done once already, as in the middle of a run."""
    model, groups = small_model(engine), encoded_groups()
    if kind == "score":
        sequences = [ids for group in groups for ids in group.sequences]
        families = [number for number, group in enumerate(groups) for _ in group.sequences]

        def run() -> object:
            return score_sequences(model, sequences, families=families, max_tokens=MAX_TOKENS)

    else:
        recipe = Recipe.model_validate(
            {"model": {"path": "none"}, "data": {"train": "none"}, "output_dir": "none"}
        )
        optimizer = build_optimizer(model.named_parameters(), recipe.train)
        schedule = build_schedule(optimizer, recipe.train, 10)
        model.train()

        def run() -> object:
            return train_step(Single(model, optimizer), groups, schedule, recipe, MAX_TOKENS)

    run()
    return model, run


def work_of(kind: str, engine: EngineName) -> Work:
    """What one training step (`train`) or one scoring (`score`) of the batch costs."""
    model, run = prepared(kind, engine)
    before = model.computed.passes, model.computed.tokens
    with FlopCounterMode(display=False, custom_mapping=_ATTENTION) as flops:
        run()
    passes, tokens = model.computed.passes - before[0], model.computed.tokens - before[1]
    with _Operators() as operators:
        run()
    by_operator = flops.get_flop_counts()["Global"]
    return {
        "tokens": tokens,
        "passes": passes,
        "flops": {str(name): count for name, count in sorted(by_operator.items(), key=str)},
        "calls": dict(sorted(operators.calls.items())),
        "allocations": operators.allocations,
        "allocated_bytes": operators.allocated_bytes,
    }


class _Operators(TorchDispatchMode):
    """Counts operators, and the memory that is new in what they return.

    What a kernel takes and gives back before it returns is not seen: it depends on threads.
    """

    def __init__(self) -> None:
        super().__init__()
        self.calls: Counter[str] = Counter()
        self.allocations = self.allocated_bytes = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        with self:  # Without gradients whole modules come as one operator.
            parts = func.decompose(*args, **kwargs)
        if parts is not NotImplemented:
            return parts
        result = func(*args, **kwargs)
        if func.namespace != "aten":  # Marks of the profiler.
            return result
        self.calls[str(func.overloadpacket)] += 1
        known = {_storage(leaf) for leaf in tree_leaves((args, kwargs)) if _is_tensor(leaf)}
        new = {_storage(leaf): leaf for leaf in tree_leaves(result) if _is_tensor(leaf)}
        for storage in new.keys() - known:
            self.allocations += 1
            self.allocated_bytes += new[storage].untyped_storage().nbytes()
        return result


def _is_tensor(leaf: object) -> bool:
    return isinstance(leaf, torch.Tensor) and leaf.untyped_storage().nbytes() > 0


def _storage(tensor: torch.Tensor) -> int:
    return tensor.untyped_storage()._cdata


def _forward(q: Sequence[int], k: Sequence[int], v: Sequence[int], *_: Any, **__: Any) -> int:
    """Two products of all queries with all keys, as torch counts its other attention kernels: what
    a causal kernel leaves out is counted, too."""
    count, heads, queries, width = q
    return 2 * count * heads * queries * k[2] * (width + v[3])


def _backward(
    _: Any, q: Sequence[int], k: Sequence[int], v: Sequence[int], *__: Any, **___: Any
) -> int:
    """Of the five products one is the forward pass's, done again."""
    count, heads, queries, width = q
    return 2 * count * heads * queries * k[2] * (3 * width + 2 * v[3])


_ATTENTION: dict[Any, Any] = {
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: _forward,
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward: _backward,
}
"""Kernels that torch's counter does not know."""


def count() -> Work:
    """All that is stored."""
    return {
        "versions": versions(),
        "work": {
            f"{kind} {engine}": work_of(kind, engine)
            for kind in ("train", "score")
            for engine in ENGINES
        },
    }


def versions() -> dict[str, str]:
    """What calls of operators depend on."""
    torch_version = metadata.version("torch").partition("+")[0]
    return {"torch": torch_version, "transformers": metadata.version("transformers")}


def stored() -> Work:
    """The file; empty where there is none."""
    if not STORED.exists():
        return {"versions": {}, "work": {}}
    found: Work = json.loads(STORED.read_text(encoding="utf-8"))
    return found


def differences(before: Any, now: Any, place: str = "") -> Iterator[str]:
    """A line for each number that is another."""
    if not isinstance(before, dict) or not isinstance(now, dict):
        if before != now:
            yield f"{place}: {before} stored, {now} now"
        return
    for name in sorted(before.keys() | now.keys()):
        yield from differences(
            before.get(name, 0), now.get(name, 0), f"{place}, {name}".strip(", ")
        )


def main() -> int:
    before, now = stored(), count()
    changed = list(differences(before, now))
    print(*changed or ["nothing has changed"], sep="\n")
    if changed:
        STORED.write_text(json.dumps(now, indent=1) + "\n", encoding="utf-8")
        print(f"written: {STORED}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
