r"""Scoring in 8 bits against float32: speed, and what becomes of the rewards; CPU.

    .venv/bin/python benchmarks/int8_speed.py [--model DIRECTORY] [--data FILE] [--pairs 110]
        [--rounds 3] [--threads 2]

Both precisions score both answers of the same rows of hh-rlhf with one model, in one process, in
turns, another first each round. Each has a model of its own, loaded and warm. Without `--model` it
is SmolLM2-135M with a seeded head; how sensitive rewards are to rounding differs from model to
model, so name the one that you score with.

It tells the answers scored a second, Kendall's tau of the two orders of all answers, the share of
pairs that keep their order, how far rewards moved, the time that adjusting took, and where the time
of one round in 8 bits goes. Bars: tau 0.98, 1.8 times the speed; a missed one is printed and is no
error. Figures go to benchmarks/results/int8_speed.json. Takes some three minutes on 2 idle cores.
"""

from __future__ import annotations

import argparse
import os
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("ONEDNN_MAX_CPU_ISA", "AVX512_CORE_FP16")  # Some advertise AMX and lack it.

import torch
from command_line import HH, is_missing, parser_of
from result_file import RESULTS, write_result
from starting_model import SMOLLM2, save_starting_model
from tables import bar, commit, print_bars, ratio, spread

from assay import RewardModel
from assay.data.encoding import encode_groups
from assay.data.loading import load_groups
from assay.data.rendering import TokenIds
from assay.data.sources import DataSource
from assay.model.int8.effect import effect
from assay.model.int8.precision import Int8
from assay.model.rewards import score_sequences

TAU, SPEED = 0.98, 1.8
SEED = 42
WARM = 8


def main() -> int:
    arguments = parse_arguments()
    if is_missing(arguments.data):
        return 0
    checked_out = commit()  # Somebody may commit while this runs.
    torch.set_num_threads(arguments.threads)
    with tempfile.TemporaryDirectory(prefix="int8-speed-") as scratch:
        name = arguments.model
        if name is None:
            name = str(Path(scratch) / "model")
            save_starting_model(SMOLLM2, Path(name), max_length=arguments.max_length)
        full, int8 = (RewardModel.load(name, device="cpu", dtype="float32") for _ in range(2))
    began = time.perf_counter()
    wanted = Int8(int8)
    adjusting = time.perf_counter() - began
    wanted.exchange()
    sequences, families = answers(full, arguments)
    figures = measured(full, int8, sequences, families, arguments.rounds)
    figures |= {
        "about": f"{arguments.model or SMOLLM2}, {len(sequences)} answers, max_length "
        f"{arguments.max_length}, {arguments.threads} threads, {arguments.rounds} rounds",
        "data": arguments.data.name,
        "commit": checked_out,
        "tokens": sum(map(len, sequences)),
        "plan": str(wanted),
        "predicted_error": wanted.plan.error,
        "seconds_of_adjusting": adjusting,
        "profile": profile(lambda: score_sequences(int8, sequences[:40], families=families[:40])),
        "profile_of_float32": profile(
            lambda: score_sequences(full, sequences[:40], families=families[:40])
        ),
    }
    for key, value in figures.items():
        if key not in ("rounds", "bars"):
            print(f"{key}: {value}")
    print_bars(figures["bars"])
    write_result(arguments.output, figures, ("assay", "torch", "transformers"))
    return 0


def parse_arguments() -> argparse.Namespace:
    parser = parser_of(__doc__)
    parser.add_argument("--model", help="a trained reward model, whatever assay score takes")
    parser.add_argument("--data", type=Path, default=HH, help="rows of preferences")
    parser.add_argument("--pairs", type=int, default=110)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--max-length", type=int, default=512, help="longer rows are left out")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--output", type=Path, default=RESULTS / "int8_speed.json")
    return parser.parse_args()


def answers(model: RewardModel, arguments: argparse.Namespace) -> tuple[list[TokenIds], list[int]]:
    """Both answers of rows drawn with a fixed seed, and the number of each one's row."""
    groups = load_groups([DataSource(str(arguments.data))], group_by="row").groups
    pool = encode_groups(groups, model.renderer, max_length=arguments.max_length).groups
    if len(pool) < arguments.pairs:
        raise SystemExit(f"{len(pool)} usable rows are too few for {arguments.pairs}")
    drawn = random.Random(SEED).sample(pool, arguments.pairs)
    items = [(encoded.group, index) for encoded in drawn for index in (0, 1)]
    sequences = [rendered.ids for rendered in model.renderer.render_many(items)]
    return sequences, [number // 2 for number in range(len(sequences))]


def measured(
    full: RewardModel,
    int8: RewardModel,
    sequences: list[TokenIds],
    families: list[int],
    rounds: int,
) -> dict[str, Any]:
    """Both sides in turns, and what became of the rewards."""
    sides = {"float32": full, "int8": int8}
    for model in sides.values():
        score_sequences(model, sequences[:WARM], families=families[:WARM])
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    rewards: dict[str, list[float]] = {}
    for number in range(rounds):
        for name in sorted(sides, reverse=bool(number % 2)):
            began = time.perf_counter()
            rewards[name] = score_sequences(sides[name], sequences, families=families)
            seconds[name].append(time.perf_counter() - began)
        print(f"round {number + 1}, seconds: {[round(s[-1], 2) for s in seconds.values()]}")
    faster = [a / b for a, b in zip(seconds["float32"], seconds["int8"], strict=True)]
    found = effect(rewards["float32"], rewards["int8"], families)
    errors = [a - b for a, b in zip(rewards["int8"], rewards["float32"], strict=True)]
    reward_std = statistics.pstdev(rewards["float32"])
    return {
        "answers_per_second": {
            name: spread([len(sequences) / one for one in times]) for name, times in seconds.items()
        },
        **ratio("ratio_vs_float32", faster),
        "kendall_tau": found.tau,
        "pair_agreement": found.agreement,
        "largest_shift": found.largest,
        "mean_shift": found.mean,
        "reward_std": reward_std,
        "error_std_over_reward_std": statistics.pstdev(errors) / reward_std,
        "bars": {
            "kendall_tau": bar(found.tau or 0.0, TAU),
            "ratio_vs_float32": bar(statistics.median(faster), SPEED),
        },
        "rounds": seconds,
    }


def profile(work: Callable[[], object]) -> dict[str, float]:
    """Seconds of the operations that take most of the time."""
    from torch.profiler import ProfilerActivity
    from torch.profiler import profile as profiling

    with profiling(activities=[ProfilerActivity.CPU]) as found:
        work()
    events = sorted(found.key_averages(), key=lambda event: -event.self_cpu_time_total)
    total = sum(event.self_cpu_time_total for event in events)
    shown = {event.key: round(event.self_cpu_time_total / 1e6, 3) for event in events[:10]}
    return {"all": round(total / 1e6, 3), **shown}


if __name__ == "__main__":
    sys.exit(main())
