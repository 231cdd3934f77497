r"""How much of the machine's peak a training step uses, and where the rest goes; float32, CPU.

    .venv/bin/python benchmarks/utilisation.py [--rounds 8] [--groups 8] [--data FILE] [--threads N]

Steps of `assay train` (its `train_step`, in this process): SmolLM2-135M with a seeded head, full
fine-tuning with AdamW, 8 pairs of hh-rlhf of at most 512 tokens a step.

Useful are the floating-point operations that nobody could leave out: every token of the tree once,
without padding and recomputation; each pair of a token and one that it attends to, half a square
where attention is causal; in the last layer keys and values of all tokens, the rest of the scored
ones alone. With N weights of linear layers that a token meets, L layers, H heads of width D and A
attended pairs, a forward pass takes 2 N + 4 L H D A, forward and backward three times that. What
our own last layer computes beyond it counts as time lost, and so do norms, activations, the
optimizer and Python.

The peak is a matrix product's: X [M, K] times W [K, N] in float32, M the tokens of the step's
largest pack, for each K and N of the model's linear layers, the best rate of all of them. It is
measured right before and after every step (the clocks of virtual machines drift), the best of
several calls each time, and a step is divided by the mean of both. Utilisation is the median over
steps; beside it stands the rate of the products in the proportion in which the model has them.

Bar: 0.7. The profile is torch's, of further steps that are not timed: self time of operators by
what they are for, the rest of the step's time being Python and the autograd engine. The figures go
to benchmarks/results/utilisation.json. Takes a few minutes on idle cores.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import random
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from command_line import HH, is_missing, parser_of
from result_file import RESULTS, write_result
from starting_model import SMOLLM2, save_starting_model
from tables import bar, commit, print_bars, spread

from assay.config import ModelConfig, Recipe
from assay.data.encoding import EncodedGroup, encode_groups
from assay.data.loading import load_groups
from assay.data.rendering import TokenIds
from assay.data.sources import DataSource
from assay.model.lanes import LANES
from assay.model.loading import build_for_training
from assay.model.products import is_onednn_faster, linear
from assay.model.reward_model import RewardModel
from assay.model.rewards import score_sequences
from assay.process import settle, share_one_heap
from assay.train.memory import training_budget
from assay.train.optimizer import build_optimizer, build_schedule
from assay.train.step import train_step
from assay.train.strategy.single import Single

BAR = 0.7
SEED = 42
WARM, CALLS, PROFILED = 1, 5, 2
PROMPT_TOKENS, ANSWERS, ANSWER_TOKENS, SCORINGS = 256, 16, 128, 5
SMALLEST_ID, LARGEST_ID = 100, 40_000
"""Of the drawn texts: none is a special token of SmolLM2."""
MARK = "the thread that calls"

PARTS = {
    "matrix products": ("mm", "addmm", "bmm", "mv", "baddbmm", "_linear_pointwise"),
    "attention": ("_scaled_dot_product",),
    "the optimizer": ("_fused_adam", "_foreach"),
    "copies, indexing and zeros": (
        *("copy_", "clone", "cat", "index", "embedding", "gather", "scatter", "select_backward"),
        *("fill_", "zero_", "stack", "contiguous", "_to_copy", "slice_backward"),
    ),
}
"""Operators of each part by the beginnings of their names."""
REST = "operators element by element"
"""All others."""


@dataclass(frozen=True, slots=True)
class Shape:
    """What of a model the number of operations depends on."""

    layers: int
    heads: int
    head_width: int
    everywhere: int
    """Weights of a layer's projections to keys and values."""
    elsewhere: int
    """All other weights of its linear layers."""
    width: int

    @classmethod
    def of(cls, model: RewardModel) -> Shape:
        """Of a decoder whose linear layers in a block are those of attention and MLP."""
        config = model.classifier.config
        block = next(m for m in model.classifier.modules() if isinstance(m, torch.nn.ModuleList))[0]
        sizes = {name: weight.numel() for name, weight in block.named_parameters()}
        linear = {name: size for name, size in sizes.items() if name.endswith("_proj.weight")}
        if set(sizes) - set(linear) != {n for n in sizes if "norm" in n}:
            raise SystemExit(f"not known which weights of a layer multiply: {', '.join(sizes)}")
        both = sum(size for name, size in linear.items() if name.split(".")[-2][0] in "kv")
        head_width = getattr(config, "head_dim", None) or (
            config.hidden_size // config.num_attention_heads
        )
        return cls(
            layers=config.num_hidden_layers,
            heads=config.num_attention_heads,
            head_width=head_width,
            everywhere=both,
            elsewhere=sum(linear.values()) - both,
            width=config.hidden_size,
        )

    def useful(self, sequences: Sequence[TokenIds]) -> int:
        """Operations of one forward pass over the tree of some sequences."""
        tokens, pairs, last_pairs = tree_counts(sequences)
        scored = len(set(sequences))
        weights = (self.layers - 1) * (self.everywhere + self.elsewhere) * tokens
        weights += self.everywhere * tokens + (self.elsewhere + self.width) * scored
        attended = (self.layers - 1) * pairs + last_pairs
        return 2 * weights + 4 * self.heads * self.head_width * attended


def main() -> int:
    arguments = parse_arguments()
    if is_missing(arguments.data):
        return 0
    settle()  # As the command does.
    share_one_heap()
    torch.set_num_threads(arguments.threads)
    checked_out = commit()
    with tempfile.TemporaryDirectory(prefix="utilisation-") as name:
        start = Path(name) / "start"
        save_starting_model(arguments.model, start, max_length=arguments.max_length)
        bench = Bench(arguments, start)
    rounds = [bench.round(number) for number in range(WARM + arguments.rounds)][WARM:]
    figures = summary(arguments, bench, rounds) | {"commit": checked_out}
    print(json.dumps({k: v for k, v in figures.items() if k not in ("rounds", "bars")}, indent=1))
    print_bars(figures["bars"])
    write_result(arguments.output, figures, ("assay", "torch", "transformers"))
    return 0


def parse_arguments() -> argparse.Namespace:
    parser = parser_of(__doc__)
    parser.add_argument("--model", default=SMOLLM2, help="what training can start from")
    parser.add_argument("--data", type=Path, default=HH, help="rows of preferences")
    parser.add_argument("--rounds", type=int, default=8, help="timed steps")
    parser.add_argument("--groups", type=int, default=8, help="pairs a step")
    parser.add_argument("--max-length", type=int, default=512, help="longer rows are left out")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--output", type=Path, default=RESULTS / "utilisation.json")
    return parser.parse_args()


class Bench:
    """A model in training, and products of its shapes."""

    def __init__(self, arguments: argparse.Namespace, start: Path) -> None:
        self.recipe = Recipe.model_validate(
            {
                "model": {"path": str(start), "dtype": "float32"},
                "data": {"train": str(arguments.data), "group_by": "row"},
                "train": {"max_length": arguments.max_length, "learning_rate": 1e-5},
                "output_dir": "unused",
            }
        )
        self.model = build_for_training(
            ModelConfig(path=str(start)),
            None,
            seed=SEED,
            max_length=arguments.max_length,
            device="cpu",
        )
        self.model.train()
        self.shape = Shape.of(self.model)
        self.batches = batches(arguments, self.model)
        train = self.recipe.train
        self.optimizer = build_optimizer(self.model.named_parameters(), train)
        self.strategy = Single(self.model, self.optimizer)
        self.schedule = build_schedule(self.optimizer, train, len(self.batches))
        self.max_tokens = training_budget(self.model, train).max_tokens
        self.products = Products(self.model, max(map(self.largest_pack, self.batches)))

    def largest_pack(self, groups: Sequence[EncodedGroup]) -> int:
        """Tokens of the largest pack of a step."""
        return max(tree_counts(pack)[0] for pack in self.packs(groups))

    def packs(self, groups: Sequence[EncodedGroup]) -> list[list[TokenIds]]:
        """The sequences of each pack of a step."""
        packs = self.model.engine.pack([group.sequences for group in groups], self.max_tokens)
        return [[ids for number in pack for ids in groups[number].sequences] for pack in packs]

    def step(self, number: int) -> float:
        """Seconds of one step."""
        batch = self.batches[number]
        return train_step(self.strategy, batch, self.schedule, self.recipe, self.max_tokens).seconds

    def round(self, number: int) -> dict[str, Any]:
        """A step between two measurements of the peak."""
        before = self.products.rates()
        seconds = self.step(number)
        after = self.products.rates()
        packs = self.packs(self.batches[number])
        useful = 3 * sum(map(self.shape.useful, packs))
        peak, mix = (statistics.fmean(pair) for pair in zip(before, after, strict=True))
        found = {
            "seconds": seconds,
            "tree_tokens": [tree_counts(pack)[0] for pack in packs],
            "useful_flops": useful,
            "flops_per_second": useful / seconds,
            "peak_flops_per_second": peak,
            "products_flops_per_second": mix,
            "utilisation": useful / seconds / peak,
        }
        print(
            f"step {number + 1}: {seconds:.2f} s, {found['flops_per_second'] / 1e9:.0f} of "
            f"{peak / 1e9:.0f} GFLOP/s",
            flush=True,
        )
        return found

    def scoring(self) -> dict[str, Any]:
        """The same of scoring 16 answers to a prompt, as `make bench-best-of` shapes them."""
        drawn = random.Random(SEED)
        prompt, *answers = (
            tuple(drawn.randrange(SMALLEST_ID, LARGEST_ID) for _ in range(count))
            for count in (PROMPT_TOKENS, *[ANSWER_TOKENS] * ANSWERS)
        )
        sequences = [prompt + answer for answer in answers]
        useful = self.shape.useful(sequences)
        self.model.eval()

        def run() -> float:
            began = time.perf_counter()
            score_sequences(self.model, sequences, families=[0] * ANSWERS)
            return time.perf_counter() - began

        run()
        shares = []
        for _ in range(SCORINGS):
            before, seconds, after = self.products.rates()[0], run(), self.products.rates()[0]
            shares.append(useful / seconds / statistics.fmean((before, after)))
        return {"utilisation": spread(shares), "profile": profile_of(run, PROFILED)}

    def profile(self) -> dict[str, Any]:
        """Shares of the time of further steps, by what it went to."""
        last = itertools.count(len(self.batches) - PROFILED)
        return profile_of(lambda: self.step(next(last)), PROFILED)


def profile_of(run: Callable[[], float], times: int) -> dict[str, Any]:
    """Shares of the time of something that tells its seconds, under torch's profiler."""
    everywhere = torch._C._profiler._ExperimentalConfig(profile_all_threads=True)
    with torch.profiler.profile(
        activities=[torch.profiler.ProfilerActivity.CPU], experimental_config=everywhere
    ) as profiler:
        with torch.profiler.record_function(MARK):
            pass
        seconds = sum(run() for _ in range(times))
    shares: Counter[str] = Counter()
    largest: Counter[str] = Counter()
    events = profiler.events()
    own_thread = next(event.thread for event in events if event.name == MARK)
    for event in events:
        if event.name.startswith(("aten::", "mkldnn::")):
            # Two lanes are at work at the same time, each with half of the cores.
            lanes = 1 if event.thread == own_thread else LANES
            share = event.self_cpu_time_total / 1e6 / seconds / lanes
            shares[part_of(event.name.partition("::")[2])] += share
            largest[event.name] += share
    rest = 1 - sum(shares.values())
    return {
        "times": times,
        "seconds": seconds,
        "shares": {name: shares[name] for name in (*PARTS, REST)} | {"Python and autograd": rest},
        "largest_operators": dict(largest.most_common(12)),
    }


class Products:
    """Products of the shapes of a model's linear layers, with so many rows."""

    def __init__(self, model: RewardModel, rows: int) -> None:
        self.rows = rows
        weights = [m.weight for m in model.classifier.modules() if isinstance(m, torch.nn.Linear)]
        self.counts = Counter((w.shape[1], w.shape[0]) for w in weights if w.shape[0] > 1)
        self.operands = {
            (k, n): (torch.randn(rows, k), torch.randn(n, k).t(), torch.empty(rows, n))
            for k, n in self.counts
        }

    @torch.no_grad()
    def rates(self) -> tuple[float, float]:
        """The best rate of all, and that of all layers one after another; FLOP a second."""
        seconds = {}
        for shape, (x, weight, output) in self.operands.items():
            times = []
            for _ in range(CALLS):
                began = time.perf_counter()
                torch.mm(x, weight, out=output)
                times.append(time.perf_counter() - began)
                if is_onednn_faster():
                    began = time.perf_counter()
                    linear(x, weight.t(), None)
                    times.append(time.perf_counter() - began)
            seconds[shape] = min(times)
        flops = {(k, n): 2 * self.rows * k * n for k, n in seconds}
        best = max(flops[shape] / seconds[shape] for shape in seconds)
        whole = sum(flops[shape] * count for shape, count in self.counts.items())
        return best, whole / sum(seconds[shape] * count for shape, count in self.counts.items())


def batches(arguments: argparse.Namespace, model: RewardModel) -> list[list[EncodedGroup]]:
    """The groups of each step, drawn with a fixed seed."""
    groups = load_groups([DataSource(str(arguments.data))], group_by="row").groups
    pool = list(encode_groups(groups, model.renderer, max_length=arguments.max_length).groups)
    count = WARM + arguments.rounds + PROFILED
    if len(pool) < count * arguments.groups:
        raise SystemExit(f"{len(pool)} pairs are too few for {count} steps: fewer --rounds")
    drawn = random.Random(SEED).sample(pool, count * arguments.groups)
    return [
        drawn[start : start + arguments.groups] for start in range(0, len(drawn), arguments.groups)
    ]


def tree_counts(sequences: Sequence[TokenIds]) -> tuple[int, int, int]:
    """Distinct prefixes of some sequences, pairs of a token and one that it attends to (itself
    included), and such pairs of last tokens."""
    tokens = pairs = 0
    before: TokenIds = ()
    distinct = sorted(set(sequences))
    for ids in distinct:
        shared = next(
            (i for i, (x, y) in enumerate(zip(before, ids, strict=False)) if x != y),
            min(len(before), len(ids)),
        )
        own = len(ids) - shared
        tokens += own
        pairs += own * shared + own * (own + 1) // 2
        before = ids
    return tokens, pairs, sum(map(len, distinct))


def part_of(operator: str) -> str:
    """What an operator is for."""
    for part, beginnings in PARTS.items():
        if operator.startswith(beginnings):
            return part
    return REST


def summary(
    arguments: argparse.Namespace, bench: Bench, rounds: Sequence[dict[str, Any]]
) -> dict[str, Any]:
    of_rounds = {
        name: spread([found[name] for found in rounds])
        for name in (
            *("utilisation", "seconds", "flops_per_second", "peak_flops_per_second"),
            "products_flops_per_second",
        )
    }
    return {
        "about": f"{arguments.model}, {arguments.groups} pairs a step, max_length "
        f"{arguments.max_length}, float32, {arguments.threads} threads, {len(rounds)} steps",
        "data": arguments.data.name,
        **of_rounds,
        "rows_of_the_products": bench.products.rows,
        "engine": bench.model.engine.name,
        "profile": bench.profile(),
        "scoring": bench.scoring(),
        "bars": {"utilisation": bar(of_rounds["utilisation"]["median"], BAR)},
        "rounds": list(rounds),
    }


if __name__ == "__main__":
    sys.exit(main())
