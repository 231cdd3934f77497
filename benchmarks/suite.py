"""All benchmarks, one after another: what `make bench` runs.

    .venv/bin/python benchmarks/suite.py [--long] [--only NAME,NAME] [--skip NAME,NAME] [--list]

Each is a target of the Makefile and a process of its own, with the environments of the peers that
it needs. One that fails does not keep the others from running; the exit code is 1 if one did. Then
the tables of README.md and docs/benchmarks.md are made of all results (render.py). `--long` adds
those that take most of an hour each. Nothing else should run on the machine: without --long it
takes about two hours on 2 idle cores.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import render
from command_line import parser_of
from result_file import RESULTS

ROOT = Path(__file__).parents[1]


@dataclass(frozen=True, slots=True)
class Benchmark:
    """A target of the Makefile without its `bench-`, and the result that it writes."""

    name: str
    result: str
    is_long: bool = False

    @property
    def place(self) -> Path:
        """Where its result stands."""
        return RESULTS / f"{self.result}.json"


BENCHMARKS = (
    Benchmark("cold", "cold_start"),
    Benchmark("utilisation", "utilisation"),
    Benchmark("score", "score_speed"),
    Benchmark("best-of", "best_of_speed"),
    Benchmark("int8", "int8_speed"),
    Benchmark("train", "train_speed"),
    Benchmark("train-lora", "train_speed_lora"),
    Benchmark("train-grouped", "train_speed_grouped"),
    Benchmark("prepare", "prepare_speed"),
    Benchmark("eval-metrics", "eval_metrics_speed"),
    Benchmark("serve", "serve_load"),
    Benchmark("scale", "scale"),
    Benchmark("parity", "score_parity"),
    Benchmark("trl", "trl_parity"),
    Benchmark("same-model", "same_model", is_long=True),
    Benchmark("jade", "jade_folds", is_long=True),
    Benchmark("prepare-scale", "prepare_scale", is_long=True),
)


def main() -> int:
    arguments = parse_arguments()
    chosen = [one for one in BENCHMARKS if is_chosen(one, arguments)]
    if arguments.list:
        for one in chosen:
            print(f"make bench-{one.name}")
        return 0
    outcomes = {}
    for one in chosen:
        print(f"== bench-{one.name}", flush=True)
        began = time.perf_counter()
        outcomes[one.name] = outcome_of(one)
        print(f"== bench-{one.name}: {outcomes[one.name]}, {time.perf_counter() - began:.0f} s")
    render.write_pages()
    print("\n".join(f"{name:16s} {outcome}" for name, outcome in outcomes.items()))
    return 0 if all(outcome == "done" for outcome in outcomes.values()) else 1


def parse_arguments() -> argparse.Namespace:
    parser = parser_of(__doc__)

    def names(text: str) -> set[str]:
        found = set(text.split(","))
        if unknown := found - {one.name for one in BENCHMARKS}:
            raise argparse.ArgumentTypeError(f"no such benchmark: {', '.join(sorted(unknown))}")
        return found

    parser.add_argument("--long", action="store_true", help="those of most of an hour, too")
    parser.add_argument("--only", type=names, help="names with commas, without bench-")
    parser.add_argument("--skip", type=names, default=set(), help="names with commas")
    parser.add_argument("--list", action="store_true", help="say what would run")
    return parser.parse_args()


def is_chosen(one: Benchmark, arguments: argparse.Namespace) -> bool:
    """Whether a benchmark is asked for, by name or by being one of the short ones."""
    if one.name in arguments.skip:
        return False
    return one.name in arguments.only if arguments.only else arguments.long or not one.is_long


def outcome_of(one: Benchmark) -> str:
    """Run a benchmark; `done` is one that wrote its result."""
    before = one.place.stat().st_mtime_ns if one.place.exists() else 0
    make = os.environ.get("MAKE", "make")
    # A make inside a make would be told to share jobs; benchmarks share nothing.
    environment = {k: v for k, v in os.environ.items() if k not in ("MAKEFLAGS", "MAKELEVEL")}
    code = subprocess.run(
        [make, f"bench-{one.name}"], cwd=ROOT, env=environment, check=False
    ).returncode
    if code:
        return f"failed with exit code {code}"
    after = one.place.stat().st_mtime_ns if one.place.exists() else 0
    return "done" if after != before else "no result was written"


if __name__ == "__main__":
    sys.exit(main())
