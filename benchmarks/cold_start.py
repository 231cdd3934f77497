r"""Seconds from the shell to 10 scored rows: the whole process of `assay score`, on the CPU.

    .venv/bin/python benchmarks/cold_start.py [--rounds 5] [--rows 10] [--threads N]

The command is the real one, on rows of the bundled sample, with SmolLM2-135M (float32, a seeded
head) in a directory whose files the system has read before. The first run has an empty cache of
Assay and checks the engine on a small twin, as the first use of a model does; it is told apart. The
figure is the median of the others. Bar: 7 seconds.

Where the time goes is seen in further processes, with clocks around what the command calls: each
second counts once, where it is spent (an import inside the loading is an import). They are slower
by what the clocks cost, and do not enter the figure. Figures go to
benchmarks/results/cold_start.json. Takes two minutes on 2 idle cores.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from command_line import parser_of
from result_file import RESULTS, write_result
from starting_model import SMOLLM2, save_starting_model
from tables import bar, commit, print_bars, spread

from assay.model.locate import locate_model

BAR = 7.0

CLOCKS = """
import time
began = time.perf_counter()
import builtins, functools, importlib, json, sys
from collections import Counter
spent, stack = Counter(), []

def timed(name, call):
    @functools.wraps(call)
    def inner(*arguments, **named):
        started = time.perf_counter()
        stack.append(0.0)
        try:
            return call(*arguments, **named)
        finally:
            whole, inside = time.perf_counter() - started, stack.pop()
            spent[name] += whole - inside
            if stack:
                stack[-1] += whole
    return inner

builtins.__import__ = timed("imports", builtins.__import__)
importlib.import_module = timed("imports", importlib.import_module)
import assay.cli, assay.model.loading, assay.score.rewarder
for name, place, attribute in (
    ("loading the model", assay.model.loading, "load_reward_model"),
    ("choosing the engine", assay.model.loading, "choose_engine"),
    ("hash of the weights", assay.score.rewarder, "weights_hash"),
    ("scoring", assay.score.rewarder.OneModel, "score"),
):
    setattr(place, attribute, timed(name, getattr(place, attribute)))
run = timed("the rest of the command", assay.cli.main)
output, sys.argv = sys.argv[1], ["assay", *sys.argv[2:]]
try:
    run()
finally:
    with open(output, "w") as file:
        json.dump({"began": began, "ended": time.perf_counter(), "spent": spent}, file)
"""


def main() -> int:
    arguments = parse_arguments()
    locate_model(SMOLLM2)
    checked_out = commit()
    with tempfile.TemporaryDirectory(prefix="cold-start-") as name:
        scratch = Path(name)
        save_starting_model(SMOLLM2, scratch / "model", max_length=1024)
        bench = Bench(arguments, scratch)
        first = bench.run()
        seconds = [bench.run() for _ in range(arguments.rounds)]
        parts = [bench.parts() for _ in range(3)]
    figures = {
        "about": f"{SMOLLM2}, {arguments.rows} rows of the bundled sample, float32, "
        f"{arguments.threads} threads, median of {arguments.rounds} processes",
        "seconds": spread(seconds),
        "first_run_seconds": first,
        "parts_seconds": {
            part: statistics.median(found[part] for found in parts) for part in parts[0]
        },
        "bars": {"seconds": bar(statistics.median(seconds), BAR, at_most=True)},
        "all_seconds": seconds,
        "commit": checked_out,
    }
    print(json.dumps({k: v for k, v in figures.items() if k != "bars"}, indent=1))
    print_bars(figures["bars"])
    write_result(arguments.output, figures, ("assay", "torch", "transformers"))
    return 0


def parse_arguments() -> argparse.Namespace:
    parser = parser_of(__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--rows", type=int, default=10)
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--output", type=Path, default=RESULTS / "cold_start.json")
    return parser.parse_args()


class Bench:
    """The command in processes of its own."""

    def __init__(self, arguments: argparse.Namespace, scratch: Path) -> None:
        self.scratch = scratch
        self.flags = [
            *("score", "--model", str(scratch / "model"), "--input", "sample:values"),
            *("--limit", str(arguments.rows), "--output", str(scratch / "scored.jsonl")),
            *("--overwrite", "--device", "cpu"),
        ]
        self.rows = arguments.rows
        self.environment = os.environ | {
            "ASSAY_CACHE": str(scratch / "cache"),
            "HF_HUB_OFFLINE": "1",
            "OMP_NUM_THREADS": str(arguments.threads),
            "TOKENIZERS_PARALLELISM": "false",
            # Some virtual machines advertise AMX and do not have it.
            "ONEDNN_MAX_CPU_ISA": os.environ.get("ONEDNN_MAX_CPU_ISA", "AVX512_CORE_FP16"),
        }

    def run(self) -> float:
        """Seconds of the command, from start to exit."""
        seconds = self._seconds([sys.executable, "-m", "assay", *self.flags])
        lines = (self.scratch / "scored.jsonl").read_text(encoding="utf-8").splitlines()
        if len(lines) != self.rows:
            raise SystemExit(f"{len(lines)} rows were scored, not {self.rows}")
        print(f"{seconds:.2f} s", flush=True)
        return seconds

    def parts(self) -> dict[str, float]:
        """Seconds of each part of a process with clocks."""
        output = self.scratch / "clocks.json"
        started = time.perf_counter()  # On Linux one clock for all processes.
        seconds = self._seconds([sys.executable, "-c", CLOCKS, str(output), *self.flags])
        found: dict[str, Any] = json.loads(output.read_text(encoding="utf-8"))
        spent: dict[str, float] = found["spent"]
        start, stop = found["began"] - started, started + seconds - found["ended"]
        return {"start and exit of the interpreter": start + stop, **spent}

    def _seconds(self, command: Sequence[str]) -> float:
        began = time.perf_counter()
        with (self.scratch / "said.txt").open("wb") as said:
            code = subprocess.run(
                command, env=self.environment, stdout=said, stderr=said, check=False
            ).returncode
        seconds = time.perf_counter() - began
        if code:
            raise SystemExit((self.scratch / "said.txt").read_text(encoding="utf-8"))
        return seconds


if __name__ == "__main__":
    sys.exit(main())
